"""Bulk actions in a browser: chosen, frozen, tried dry, run, stopped, gone on with."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from rabbitjobs.review.case import Case
from rabbitjobs.review.desk import Desk
from tests.backends.desk_broker import Broker
from tests.web.conftest import CSRF

Land = Callable[..., Case]


async def post(web: httpx.AsyncClient, path: str, **fields: Any) -> httpx.Response:
    return await web.post(path, data={"csrf": CSRF, **fields})


def ended() -> None:
    """Wait until no bulk action runs in this process."""
    for thread in threading.enumerate():
        if thread.name.startswith("bulk "):
            thread.join(60)


async def test_all_of_a_list_is_frozen_tried_dry_and_run(
    web: httpx.AsyncClient, desk: Desk, broker: Broker, land: Land
) -> None:
    cases = [land() for _ in range(3)]
    other = land(queue="images")
    form = (await web.get("/bulk/new?queue=emails")).text
    assert '<input type="hidden" name="queue" value="emails">' in form
    fields = {"action": "discard", "queue": "emails", "reason": "old"}
    frozen = await post(web, "/bulk", **fields)
    assert frozen.status_code == 303, frozen.text
    desk.claim(cases[1].id, who="bob", version=1)
    dry = await web.get(frozen.headers["location"])
    assert dry.text.count("would be: discard") == 2
    assert "claim by bob" in dry.text
    assert {desk.get(one.id).state for one in cases} == {"open"}
    bulk_id = frozen.headers["location"].split("/")[2]
    assert (await post(web, f"/bulk/{bulk_id}/run")).status_code == 303
    ended()
    page = (await web.get(f"/bulk/{bulk_id}")).text
    assert re.search(r"<b>2</b> done.*<b>1</b> refused", page, re.DOTALL)
    assert "1 </b> done" not in (await web.get(f"/bulk/{bulk_id}?fate=refused")).text
    assert desk.get(other.id).state == "open"
    assert bulk_id in (await web.get("/bulk")).text


async def test_ticked_cases_are_chosen(
    web: httpx.AsyncClient, desk: Desk, broker: Broker, land: Land
) -> None:
    cases = [land() for _ in range(3)]
    ids = [one.id for one in cases[:2]]
    form = await post(web, "/bulk/new", case=ids)
    assert "2 ticked cases" in form.text
    frozen = await post(web, "/bulk", action="retry", case=ids, canary="0", rate="0")
    bulk_id = frozen.headers["location"].split("/")[2]
    await post(web, f"/bulk/{bulk_id}/run")
    ended()
    assert [row.case_id for row in broker.sent] == ids
    assert (await post(web, "/bulk/new")).status_code == 409


async def test_a_canary_waits_and_is_stopped(
    web: httpx.AsyncClient, desk: Desk, broker: Broker, land: Land
) -> None:
    for _ in range(3):
        land()
    frozen = await post(web, "/bulk", action="retry", canary="1", rate="", failures="0")
    bulk_id = frozen.headers["location"].split("/")[2]
    await post(web, f"/bulk/{bulk_id}/run")
    while (found := desk.bulk.get(bulk_id)).state != "canary":
        assert not found.why
    page = (await web.get(f"/bulk/{bulk_id}")).text
    assert "waits for its canary" in page
    refused = await post(web, f"/bulk/{bulk_id}/stop", reason=" ")
    assert refused.status_code == 409
    assert "expected a reason" in refused.text
    await post(web, f"/bulk/{bulk_id}/stop", reason="it does not help")
    ended()
    assert len(broker.sent) == 1
    page = (await web.get(f"/bulk/{bulk_id}")).text
    assert "stopped by ann: it does not help" in page
    assert f'action="/bulk/{bulk_id}/resume"' in page


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"action": "discard", "reason": ""}, "expected a reason"),
        ({"action": "retry", "canary": "-1"}, "expected a number"),
        ({"action": "retry", "rate": "nan"}, "expected a number"),
        ({"action": "explode"}, "expected one of"),
        ({"action": "snooze", "for": "x"}, "expected a duration"),
    ],
)
async def test_a_wrong_form_is_shown_again(
    web: httpx.AsyncClient, desk: Desk, land: Land, fields: dict[str, str], said: str
) -> None:
    land()
    page = await post(web, "/bulk", **fields)
    assert page.status_code == 409
    assert said in page.text
    assert desk.bulk.list() == ()


async def test_only_who_made_it_or_an_admin_turns_it(
    web: httpx.AsyncClient, desk: Desk, land: Land
) -> None:
    land()
    frozen = await post(web, "/bulk", action="discard", reason="old")
    path = f"/bulk/{frozen.headers['location'].split('/')[2]}"
    page = await web.get(path, headers={"x-who": "bob"})
    assert f'action="{path}/run"' not in page.text
    refused = await web.post(f"{path}/run", data={"csrf": CSRF}, headers={"x-who": "bob"})
    assert refused.status_code in (303, 403)
    ended()
    assert desk.bulk.get(path.split("/")[2]).state == "ready"
    assert (await web.get("/bulk/nothing")).status_code == 404
