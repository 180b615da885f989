"""The thinnest slice: a case is listed, looked at, claimed and sent again, without any script."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx

from rabbitjobs.review.case import Case
from rabbitjobs.review.desk import Desk
from tests.backends.desk_broker import Broker
from tests.web.conftest import CSRF

INLINE = re.compile(r'<script(?! type="module" src)|<style|\sstyle=|\son\w+=')
Land = Callable[..., Case]


async def test_a_case_is_listed_claimed_and_sent_again(
    web: httpx.AsyncClient, desk: Desk, broker: Broker, land: Land
) -> None:
    case = land()
    page = await web.get("/cases")
    assert page.status_code == 200
    assert f'href="/cases/{case.id}"' in page.text
    assert "mailbox full" in page.text
    page = await web.get(f"/cases/{case.id}")
    assert 'name="csrf" value="the-token"' in page.text
    for action in ("claim", "retry"):
        version = str(desk.get(case.id).version)
        done = await web.post(f"/cases/{case.id}/{action}", data={"csrf": CSRF, "version": version})
        assert (done.status_code, done.headers["location"]) == (
            303,
            f"/cases/{case.id}?done={action}",
        )
    assert desk.get(case.id).state == "released"
    assert len(broker.sent) == 1
    assert [row.via for row in desk.audit(case.id)][1:3] == ["web", "web"]


async def test_every_page_stands(web: httpx.AsyncClient, land: Land) -> None:
    case = land()
    for path in ("/cases", "/groups", "/bulk", "/bulk/new", "/audit", "/people", "/help",
                 f"/cases/{case.id}", f"/cases/{case.id}/edit", f"/cases/{case.id}/edit?as=json",
                 "/export/csv", "/export/jsonl", "/static/desk.css", "/static/desk.js",
                 f"/cases/{case.id}/payload"):  # fmt: skip
        page = await web.get(path, headers={"x-who": "top"})
        assert page.status_code == 200, (path, page.text)
        if "html" in page.headers["content-type"]:
            assert not INLINE.search(page.text), path
