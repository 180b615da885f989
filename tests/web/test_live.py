"""Live updates: an event for each change and nothing but the fact in it."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from rabbitjobs.review.case import Case
from rabbitjobs.review.desk import Desk
from rabbitjobs.web.pages import pulse
from rabbitjobs.web.pages.live import marks
from rabbitjobs.web.pages.pulse import Pulse
from tests.web.conftest import CSRF

Land = Callable[..., Case]


class Unrested(Pulse):
    """Looks each time it is asked."""

    def of(self, desk: Desk) -> str:
        return desk.pulse()


async def test_a_change_is_an_event(desk: Desk, land: Land) -> None:
    stream = marks(Unrested(), desk, looks=4, pause=0.0)
    assert "retry" in await anext(stream)
    first = await anext(stream)
    assert first.startswith("event: mark\ndata: ")
    case = land()
    second = await anext(stream)
    assert second.startswith("event: mark\ndata: ")
    assert second != first
    assert case.id not in second
    desk.claim(case.id, who="ann", version=1)
    assert await anext(stream) not in (first, second)
    assert [one async for one in stream] == []


async def test_many_pages_are_one_look(
    desk: Desk, land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However slowly the case lands.
    monkeypatch.setattr(pulse, "LOOK_SECONDS", 3600.0)
    shared = Pulse()
    first = shared.of(desk)
    land()
    assert shared.of(desk) == first
    shared._read_at -= pulse.LOOK_SECONDS
    assert shared.of(desk) != first


async def test_a_page_knows_the_mark_of_what_it_shows(
    web: httpx.AsyncClient, desk: Desk, land: Land
) -> None:
    """So that nothing is missed between its reading and the first event."""
    before = desk.pulse()
    assert f'data-mark="{before}"' in (await web.get("/cases")).text
    case = land()
    page = await web.get(f"/cases/{case.id}")
    assert f'data-mark="{desk.pulse()}"' in page.text
    assert desk.pulse() != before


async def test_a_refused_form_keeps_its_words_and_knows_its_page(
    web: httpx.AsyncClient, desk: Desk, land: Land
) -> None:
    """Its own address is not one that can be read."""
    case = land()
    desk.claim(case.id, who="bob", version=1)
    data = {"csrf": CSRF, "version": "1", "reason": "my words"}
    page = await web.post(f"/cases/{case.id}/steal", data=data)
    assert page.status_code == 409
    assert f'data-self="/cases/{case.id}"' in page.text
    typed = page.text[page.text.index("data-typed") :]
    assert "my words" in typed[: typed.index("</details>")]
