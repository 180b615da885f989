"""Nobody, roles, tokens, prefixes: who sees and does what at the web pages and in the API."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from tests.web_desk import (
    SITE,
    WebDesk,
    csrf_in,
    web_desk,
)

# No four digits: those stand in a token or an id by chance.
CARD = "4111-1111-1111-1111"
PAGES = ("/cases", "/groups", "/bulk", "/bulk/new", "/audit", "/people", "/help")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[WebDesk]:
    """Ann, Bob and Vic may log in."""
    with web_desk(tmp_path / "config") as found:
        yield found


def test_nothing_but_the_login_and_static_files_is_seen_by_nobody(desk: WebDesk) -> None:
    """Every other route sends to the login, or says 401."""
    case_id = desk.case()
    site = desk.site()
    client = desk.client(site=site)
    for path in (*PAGES, "/", f"/cases/{case_id}", "/export/csv", f"/cases/{case_id}/payload"):
        answer = client.get(path)
        assert answer.headers["location"].startswith("/login?next="), path
    assert client.get("/live").status_code == 401
    for path in ("/api/cases", "/api/me", "/api/export", "/api/nowhere"):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    csrf = csrf_in(client.get("/login").text)
    assert client.post("/logout", data={"csrf": csrf}).status_code == 401
    assert client.get("/static/desk.css").status_code == 200


def test_a_role_and_its_limits_hold_on_pages_and_in_the_api(desk: WebDesk) -> None:
    """A viewer acts on nothing, a reviewer of emails sees no images, an admin alone sees all."""
    case_id, other = desk.case(card=CARD), desk.case(job="picture", queue="images")
    bob = desk.browser("bob")
    assert bob.get(f"/cases/{other}").status_code == 403
    assert other not in bob.get("/cases").text
    for path in (f"/cases/{case_id}", f"/cases/{case_id}/edit", f"/cases/{case_id}/payload"):
        assert CARD not in bob.get(path).text, path
        assert "[hidden]" in bob.get(path).text, path
    assert CARD not in bob.get("/api/export").text
    assert CARD in desk.browser("ann", site=bob.app).get(f"/cases/{case_id}").text
    vic = desk.browser("vic", site=bob.app)
    fields = {"csrf": csrf_in(bob.get(f"/cases/{case_id}").text), "version": "1"}
    assert vic.post(f"/cases/{case_id}/claim", data=fields).status_code == 403
    token = {"X-CSRF-Token": vic.get("/api/me").json()["csrf"], "If-Match": '"1"'}
    answer = vic.post(f"/api/cases/{case_id}/claim", json={}, headers=token)
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:rabbitjobs:not-allowed")
    assert desk.app.desk.get(case_id).version == 1


def test_a_token_does_no_more_than_its_role(desk: WebDesk) -> None:
    """An admin's token for a viewer looks only, and sees no sensitive field."""
    case_id = desk.case(card=CARD)
    program = desk.program("ann", "viewer")
    assert CARD not in str(program.get(f"/api/cases/{case_id}").json()["arguments"])
    fence = {"If-Match": '"1"'}
    refused = program.post(f"/api/cases/{case_id}/claim", json={}, headers=fence)
    assert refused.status_code == 403
    frozen = {"action": "retry", "ids": [case_id]}
    assert program.post("/api/bulks", json=frozen).status_code == 403
    for bad in ("", "Bearer", "Bearer rjt_wrong", "Basic YTpi", f"Bearer {'x' * 9000}"):
        answer = desk.client(site=program.app, headers={"Authorization": bad}).get("/api/me")
        assert answer.status_code == 401, bad
    assert (
        desk.client(site=program.app, headers=dict(program.headers)).get("/cases").status_code
        == 303
    )  # a token opens no page
    desk.later = 86401
    assert program.get("/api/me").status_code == 401


def test_mounted_under_a_prefix_everything_stays_below_it(desk: WebDesk) -> None:
    """Links, forms, redirects and the API's own address."""
    outer = Starlette(routes=[Mount("/tools/desk", app=desk.site())])
    client = TestClient(outer, base_url=SITE, client=("203.0.113.7", 1), follow_redirects=False)
    first = client.get("/tools/desk/cases")
    assert first.headers["location"] == "/tools/desk/login?next=%2Ftools%2Fdesk%2Fcases"
    page = client.get(first.headers["location"]).text
    assert 'action="/tools/desk/login"' in page
    given = {"csrf": csrf_in(page), "name": "ann", "password": "correct horse battery"}
    answer = client.post("/tools/desk/login", data={**given, "next": "/tools/desk/cases"})
    assert answer.headers["location"] == "/tools/desk/cases"
    shown = client.get("/tools/desk/cases")
    assert shown.status_code == 200
    assert not re.search(r'(href|src|action)="/(?!tools/desk/)', shown.text)
    document = client.get("/tools/desk/api/openapi.json").json()
    assert document["servers"] == [{"url": "/tools/desk/api"}]
    assert client.get("/tools/desk/api/nowhere").headers["content-type"].endswith("problem+json")
