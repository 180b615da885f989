"""The desk within another app: every link, form and file stays below its prefix."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx
from starlette.applications import Starlette
from starlette.routing import Mount

from rabbitjobs.review.case import Case
from rabbitjobs.review.desk import Desk
from rabbitjobs.web.pages import routes
from tests.web.conftest import CSRF, Guarded

LINK = re.compile(r'(?:href|src|action|data-live-url|data-heartbeat)="(\/[^"]*)"')
Land = Callable[..., Case]


async def test_a_mounted_desk_stays_below_its_prefix(desk: Desk, land: Land) -> None:
    case = land()
    inner = Starlette(routes=routes(lambda _request: desk))
    app = Starlette(routes=[Mount("/tools/desk", Guarded(inner))])
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://desk.test") as web:
        for path in ("/cases", "/groups", "/bulk", "/bulk/new", "/audit", "/help",
                     f"/cases/{case.id}", f"/cases/{case.id}/edit"):  # fmt: skip
            page = await web.get(f"/tools/desk{path}")
            assert page.status_code == 200
            links = LINK.findall(page.text)
            assert len(links) > 5
            assert [one for one in links if not one.startswith("/tools/desk/")] == []
        home = await web.get("/tools/desk/")
        assert home.headers["location"] == "/tools/desk/cases"
        style = re.search(r'rel="stylesheet" href="([^"]+)"', page.text)
        assert style is not None
        assert (await web.get(style.group(1))).status_code == 200
        done = await web.post(
            f"/tools/desk/cases/{case.id}/claim", data={"csrf": CSRF, "version": "1"}
        )
        assert done.headers["location"] == f"/tools/desk/cases/{case.id}?done=claim"
