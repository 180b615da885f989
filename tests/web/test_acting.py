"""Every action is a plain form; what is refused is said on the case as it is by now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from rabbitjobs.errors import Unroutable
from rabbitjobs.policy.decision import Failure
from rabbitjobs.review.case import Case
from rabbitjobs.review.desk import Desk
from tests.backends.desk_broker import Broker
from tests.web.conftest import CSRF

Land = Callable[..., Case]
GATE = Failure(kind="approval", error_type="approval", error="")


async def post(web: httpx.AsyncClient, case: Case, action: str, **fields: Any) -> httpx.Response:
    who = fields.pop("who", "ann")
    data = {"csrf": CSRF, "version": str(case.version), **fields}
    return await web.post(f"/cases/{case.id}/{action}", data=data, headers={"x-who": who})


@pytest.mark.parametrize(
    ("action", "fields", "state"),
    [
        ("claim", {}, "open"),
        ("retry", {"queue": "slow"}, "released"),
        ("discard", {"reason": "no use"}, "discarded"),
        ("resolve", {"result": "null", "reason": "by phone"}, "resolved"),
        ("snooze", {"for": "2h", "reason": ""}, "open"),
        ("escalate", {"reason": "they wait"}, "open"),
        ("comment", {"text": "asked"}, "open"),
        ("tag", {"tags": "vip, late"}, "open"),
    ],
)
async def test_an_action_is_a_form(
    web: httpx.AsyncClient, desk: Desk, land: Land, action: str, fields: dict[str, str], state: str
) -> None:
    case = land()
    form = (await web.get(f"/cases/{case.id}")).text
    assert f'action="/cases/{case.id}/{action}"' in form
    done = await post(web, case, action, **fields)
    assert done.status_code == 303, done.text
    assert desk.get(case.id).state == state
    assert action in [row.action for row in desk.audit(case.id)]
    said = await web.get(done.headers["location"])
    assert 'class="notice good"' in said.text


async def test_a_gate_is_approved_or_rejected(
    web: httpx.AsyncClient, desk: Desk, land: Land
) -> None:
    yes, no = land(failure=GATE), land(failure=GATE)
    page = (await web.get(f"/cases/{yes.id}")).text
    assert "Approve" in page
    assert "/discard" not in page
    assert (await post(web, yes, "approve")).status_code == 303
    assert (await post(web, no, "reject", reason="never")).status_code == 303
    assert (desk.get(yes.id).state, desk.get(no.id).state) == ("released", "discarded")


async def test_what_others_hold_can_only_be_taken_over(
    web: httpx.AsyncClient, desk: Desk, land: Land
) -> None:
    case = land()
    held = desk.claim(case.id, who="bob", version=1)
    page = (await web.get(f"/cases/{case.id}")).text
    assert "held by bob" in page
    assert "/retry" not in page
    refused = await post(web, held, "retry")
    assert refused.status_code == 409
    assert "claimed by bob" in refused.text
    assert (await post(web, held, "steal", reason="bob is ill")).status_code == 303
    assert desk.get(case.id).owner == "ann"
    beat = await web.post(
        f"/cases/{case.id}/heartbeat", data={"csrf": CSRF}, headers={"x-who": "bob"}
    )
    assert beat.status_code == 409
    assert "steal by ann" in beat.json()["error"]
    own = await web.post(f"/cases/{case.id}/heartbeat", data={"csrf": CSRF})
    assert own.json()["version"] == 3


async def test_who_comes_second_sees_what_happened(
    web: httpx.AsyncClient, desk: Desk, land: Land
) -> None:
    """His words are not lost, and the page acts on the case as it is now."""
    case = land()
    desk.comment(case.id, "let it be", who="bob", version=1)
    late = await post(web, case, "discard", reason="my long <reason>")
    assert late.status_code == 409
    assert "comment by bob (let it be)" in late.text
    assert "my long &lt;reason&gt;" in late.text
    assert 'name="version" value="2"' in late.text
    assert desk.get(case.id).state == "open"


@pytest.mark.parametrize(
    ("action", "fields", "status", "said"),
    [
        ("discard", {"reason": " "}, 409, "expected a reason"),
        ("snooze", {"for": "soon"}, 409, "expected a duration"),
        ("resolve", {"result": "{"}, 422, "expected JSON"),
        ("retry", {"version": "x"}, 409, "expected the version"),
        ("vanish", {}, 409, "expected one of"),
        ("reopen", {"reason": "x"}, 403, "expected a admin"),
    ],
)
async def test_a_wrong_form_is_refused_in_words(
    web: httpx.AsyncClient, desk: Desk, land: Land, action: str, fields: dict[str, str],
    status: int, said: str,
) -> None:  # fmt: skip
    case = land()
    page = await post(web, case, action, **fields)
    assert page.status_code == status
    assert said in page.text
    assert desk.get(case.id) == case


async def test_what_the_broker_refuses_is_said(
    web: httpx.AsyncClient, broker: Broker, desk: Desk, land: Land
) -> None:
    case = land()
    broker.error = Unroutable("expected a queue, got none")
    page = await post(web, case, "retry")
    assert page.status_code == 502
    assert "expected a queue, got none" in page.text
    assert desk.get(case.id).state == "open"


async def test_a_viewer_has_no_forms_and_no_rights(
    web: httpx.AsyncClient, desk: Desk, land: Land
) -> None:
    case = land()
    page = await web.get(f"/cases/{case.id}", headers={"x-who": "vic"})
    assert 'method="post"' not in page.text
    assert (await post(web, case, "retry", who="vic")).status_code == 403
    other = await web.get(f"/cases/{case.id}", headers={"x-who": "cat"})
    assert other.status_code == 403
    assert "mailbox" not in other.text
    people = await web.get("/people")
    assert people.status_code == 403
    assert desk.get(case.id) == case


async def test_a_short_id_leads_to_the_case(web: httpx.AsyncClient, land: Land) -> None:
    case = land()
    page = await web.get(f"/cases/{case.id[:20]}")
    assert page.headers["location"] == f"/cases/{case.id}"
    assert (await web.get("/cases/nothing")).status_code == 404
