"""Editing: each argument in a field of its own, what is wrong said beside it, nothing lost."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import Any

import httpx
import msgspec
import pytest

from rabbitjobs.review.case import Case
from rabbitjobs.review.desk import Desk
from tests.backends.desk_broker import Broker
from tests.web.conftest import CSRF

Land = Callable[..., Case]


async def post(web: httpx.AsyncClient, case: Case, **fields: Any) -> httpx.Response:
    who = fields.pop("who", "ann")
    data = {"csrf": CSRF, "version": str(case.version), "as": "fields", "do": "send", **fields}
    return await web.post(f"/cases/{case.id}/edit", data=data, headers={"x-who": who})


def fields_of(page: str) -> dict[str, str]:
    found = re.findall(r'<textarea[^>]*name="([^"]+)"[^>]*>(.*?)</textarea>', page, re.DOTALL)
    # A browser drops the first line end, and sends each as two characters.
    return {
        name: html.unescape(text).removeprefix("\n").replace("\n", "\r\n") for name, text in found
    }


def body(*args: Any, **kwargs: Any) -> bytes:
    return msgspec.json.encode({"args": args, "kwargs": kwargs})


async def test_arguments_are_fields_with_the_names_of_the_signature(
    web: httpx.AsyncClient, desk: Desk, broker: Broker, land: Land
) -> None:
    case = land(body("ann@example.org", 2, text="hi\nthere"))
    page = (await web.get(f"/cases/{case.id}/edit")).text
    assert fields_of(page) == {
        "field.args.0": "ann@example.org",
        "field.args.1": "2",
        "field.kwargs.text": "hi\r\nthere",
    }
    for name in ("to", "copies", "text"):
        assert f"<b>{name}</b>" in page
    changed = fields_of(page) | {"field.args.0": "bob@example.org"}
    shown = await post(web, case, **changed | {"do": "check"})
    assert shown.status_code == 200
    assert "bob@example.org" in shown.text
    assert 'class="gone"' in shown.text
    assert desk.get(case.id) == case
    done = await post(web, case, **changed)
    assert done.status_code == 303
    assert broker.sent[0].envelope.body == body("bob@example.org", 2, text="hi\nthere")
    child = desk.get(done.headers["location"].split("/")[2].split("?")[0])
    assert child.parent_id == case.id
    page = (await web.get(f"/cases/{child.id}")).text
    assert "What the edit changed" in page


async def test_what_is_wrong_stands_at_its_field(
    web: httpx.AsyncClient, desk: Desk, land: Land
) -> None:
    case = land(body("a@example.org", 2))
    page = await post(web, case, **{"field.args.0": "x", "field.args.1": '"two"'})
    assert page.status_code == 422
    wrong = re.search(r'<p class="field wrong">.*?</p>', page.text, re.DOTALL)
    assert wrong is not None
    assert "<b>copies</b>" in wrong.group()
    assert "Expected `int`, got `str`" in html.unescape(wrong.group())
    assert fields_of(page.text)["field.args.0"] == "x"
    page = await post(web, case, **{"field.args.0": "x", "field.args.1": "{"})
    assert "expected JSON" in page.text
    assert desk.get(case.id) == case


async def test_nothing_changed_is_said(web: httpx.AsyncClient, land: Land) -> None:
    """Also when the text came with another kind of line ends: they stay as they were."""
    case = land(body("a\r\nb\n", text="\n first"))
    typed = fields_of((await web.get(f"/cases/{case.id}/edit")).text)
    page = await post(web, case, **typed)
    assert page.status_code == 422
    assert "got the same ones" in page.text


@pytest.mark.parametrize(
    "text", ["a\x00b", "\u202eevil", "</textarea><script>", "\n\nx", "é\U0001f407"]
)
async def test_a_text_comes_back_as_it_was(
    web: httpx.AsyncClient, broker: Broker, land: Land, text: str
) -> None:
    case = land(body("a@example.org", text=text))
    page = (await web.get(f"/cases/{case.id}/edit")).text
    assert "<script>" not in page.replace('<script type="module"', "")
    done = await post(web, case, **fields_of(page) | {"field.args.0": "b@example.org"})
    assert done.status_code == 303, done.text
    assert broker.sent[0].envelope.body == body("b@example.org", text=text)


async def test_the_whole_body_can_be_edited(
    web: httpx.AsyncClient, broker: Broker, land: Land
) -> None:
    case = land(body("a@example.org"))
    page = await web.get(f"/cases/{case.id}/edit?as=json")
    assert list(fields_of(page.text)) == ["body"]
    bad = await post(web, case, **{"as": "json", "body": '{"args": [}'})
    assert bad.status_code == 422
    assert 'id="body-fault"' in bad.text
    done = await post(web, case, **{"as": "json", "body": '{"args": ["b"], "kwargs": {}}'})
    assert done.status_code == 303
    assert broker.sent[0].envelope.body == b'{"args":["b"],"kwargs":{}}'


async def test_hidden_and_locked_fields_stay(
    web: httpx.AsyncClient, broker: Broker, land: Land
) -> None:
    case = land(body("a@example.org", card="4111", invoice="R-7"))
    page = (await web.get(f"/cases/{case.id}/edit")).text
    assert "4111" not in page
    assert set(fields_of(page)) == {"field.args.0", "field.kwargs.copies", "field.kwargs.text"}
    forced = await post(web, case, **{"field.args.0": "b", "field.kwargs.invoice": "R-8"})
    assert forced.status_code == 422
    assert "kwargs.invoice" in forced.text
    done = await post(web, case, **fields_of(page) | {"field.args.0": "b@example.org"})
    assert done.status_code == 303
    assert broker.sent[0].envelope.body == body("b@example.org", card="4111", invoice="R-7")


async def test_a_parameter_that_was_not_given_can_be(
    web: httpx.AsyncClient, broker: Broker, land: Land
) -> None:
    case = land(body("a@example.org"))
    done = await post(web, case, **{"field.kwargs.copies": "3", "field.kwargs.text": ""})
    assert done.status_code == 303
    assert broker.sent[0].envelope.body == body("a@example.org", copies=3)


async def test_a_stale_edit_is_refused_and_kept(
    web: httpx.AsyncClient, desk: Desk, land: Land
) -> None:
    case = land()
    desk.comment(case.id, "wait", who="bob", version=1)
    page = await post(web, case, **{"field.args.0": "mine@example.org"})
    assert page.status_code == 409
    assert "comment by bob" in page.text
    assert fields_of(page.text)["field.args.0"] == "mine@example.org"
    assert 'name="version" value="2"' in page.text
