"""Addresses, host headers, proxies, paths, sizes: what each trick gets at the web pages."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rabbitjobs.errors import WebRefused
from rabbitjobs.review.web_options import OPEN
from rabbitjobs.settings import load
from rabbitjobs.web import reading
from rabbitjobs.web.serving import check_address
from tests.web_desk import (
    HERE,
    HOST,
    PASSWORDS,
    REVIEW,
    SITE,
    WebDesk,
    csrf_in,
    form_of,
    people_in_config,
    web_desk,
)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[WebDesk]:
    """Ann, Bob and Vic may log in."""
    with web_desk(tmp_path / "config") as found:
        yield found


def test_the_web_page_started_without_auth_refuses_to_bind_off_loopback(tmp_path: Path) -> None:
    """It says what to do; with people and their host's name it starts."""
    for host in ("127.0.0.1", "::1", "localhost", "127.0.0.9"):
        check_address(host, OPEN)
    for host in ("0.0.0.0", "::", "10.0.0.5", "desk.shop.example", ""):
        with pytest.raises(WebRefused, match=r"web\.people .*rabbitjobs web password"):
            check_address(host, OPEN)
    (tmp_path / "rabbitjobs.yaml").write_text(REVIEW + people_in_config())
    named = load(tmp_path, {}).web
    assert named is not None
    check_address("0.0.0.0", named)
    text = people_in_config().replace(f"  hosts: [{HOST}]\n", "")
    (tmp_path / "rabbitjobs.yaml").write_text(REVIEW + text)
    unnamed = load(tmp_path, {}).web
    assert unnamed is not None
    with pytest.raises(WebRefused, match=r"web\.hosts"):
        check_address("::", unnamed)
    check_address("10.0.0.5", unnamed)


def test_without_people_only_this_machine_is_answered_whatever_is_bound(tmp_path: Path) -> None:
    """Not others, not through a proxy, not by a name that DNS was made to say."""
    with web_desk(tmp_path / "config", "") as desk:
        site = desk.site(hosts=[HOST])
        here = desk.client(HERE, site=site, peer="127.0.0.1")
        assert here.get("/cases").status_code == 200
        assert here.get("/api/cases").status_code == 200
        refused = desk.client(HERE, site=site, peer="10.0.0.7").get("/cases")
        assert refused.status_code == 403
        assert "web.people" in refused.text
        assert desk.client(SITE, site=site, peer="127.0.0.1").get("/cases").status_code == 403
        for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"):
            behind = desk.client(HERE, site=site, peer="127.0.0.1", headers={name: "10.0.0.7"})
            assert behind.get("/cases").status_code == 403


def test_without_people_other_sites_still_change_nothing(tmp_path: Path) -> None:
    """A page that somebody at this machine looks at cannot press our buttons."""
    with web_desk(tmp_path / "config", "") as desk:
        case_id = desk.case()
        here = desk.client(HERE, peer="127.0.0.1")
        fields = form_of(here, case_id)
        path = f"/cases/{case_id}/claim"
        api, fence = f"/api{path}", {"If-Match": '"1"'}
        evil = {"Origin": "http://evil.example"}
        assert here.post(path, data={**fields, "csrf": ""}).status_code == 403
        assert here.post(path, data=fields, headers=evil).status_code == 403
        assert here.post(api, headers=fence).status_code == 415  # no body, as a form may be
        assert here.post(api, json={}, headers={**fence, **evil}).status_code == 403
        assert here.post(path, data=fields).status_code == 303
        assert "@" in str(desk.app.desk.get(case_id).owner)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example", 421), (f"{HOST}.evil.example", 421), (f"evil.{HOST}", 421),
        ("", 400), (f"{HOST}, evil.example", 400), (f"{HOST}/path", 400), (f"a@{HOST}", 400),
        ("[::1", 400), (f"{HOST}:80:90", 400), ("x" * 5000, 421),
        (HOST, 200), (HOST.upper(), 200), (f"{HOST}:8443", 200), (f"{HOST}.", 200),
        ("localhost:8642", 200), ("[::1]:8642", 200),
    ],
)  # fmt: skip
def test_host_header_tricks_are_refused(desk: WebDesk, host: str, status: int) -> None:
    """Only names of ours; and no answer ever repeats the host in a link."""
    for path in ("/login", "/api/openapi.json"):
        answer = desk.client(headers={"Host": host}).get(path)
        assert answer.status_code == status, (path, answer.text)
        assert "evil" not in answer.text


def test_no_link_and_no_redirect_holds_a_host(desk: WebDesk) -> None:
    """Whatever X-Forwarded-Host says."""
    client = desk.client(headers={"X-Forwarded-Host": "evil.example", "X-Host": "evil.example"})
    for path in ("/", "/cases", "/cases/", "/static"):
        assert client.get(path).headers["location"].startswith("/login?next=%2F")
    assert "location" not in desk.browser("ann", site=client.app).get("/cases/").headers
    assert "evil" not in client.get("/login").text


def test_a_proxy_is_believed_only_where_the_config_names_it(tmp_path: Path) -> None:
    """The client in the audit is the nearest address that is no proxy of ours."""
    config = REVIEW + people_in_config() + "  proxies: [10.1.0.0/16]\n"
    with web_desk(tmp_path / "config", config) as desk:
        case_id, site = desk.case(), desk.site()
        token = {"Authorization": f"Bearer {desk.token()}"}
        chain = {"X-Forwarded-For": "6.6.6.6, 198.51.100.9, 10.1.2.3"}
        for peer, version in (("10.1.0.4", 1), ("203.0.113.7", 2)):
            client = desk.client(site=site, peer=peer, headers={**token, **chain})
            path, fence = f"/api/cases/{case_id}/comment", {"If-Match": f'"{version}"'}
            assert client.post(path, json={"text": "x"}, headers=fence).status_code == 200
        seen = [row.via for row in desk.app.desk.audit(case_id)][1:]
        assert seen == ["api token test from 198.51.100.9", "api token test from 203.0.113.7"]


@pytest.mark.parametrize(("peer", "status"), [("10.1.0.4", 303), ("203.0.113.7", 403)])
def test_behind_tls_of_a_proxy_that_is_named_people_log_in(
    tmp_path: Path, peer: str, status: int
) -> None:
    """It says the scheme; of anybody else the form would be one of another origin."""
    config = REVIEW + people_in_config() + "  proxies: [10.1.0.0/16]\n"
    with web_desk(tmp_path / "config", config) as desk:
        said = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "198.51.100.9", "Origin": SITE}
        client = desk.client(f"http://{HOST}", peer=peer, headers=said)
        form = client.get("/login")
        cookie = form.headers["set-cookie"].partition(";")[0]
        fields = {"csrf": csrf_in(form.text), "name": "ann", "password": PASSWORDS["ann"]}
        answer = client.post("/login", data=fields, headers={"Cookie": cookie})
        assert answer.status_code == status


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/app.py",
        "/static/....//app.py", "/static//etc/passwd", "/static/%2fetc%2fpasswd",
        "/static/..%5capp.py", "/static/%00", "/static/../../../../etc/passwd",
        "/static/desk.css/../../app.py", "/export/..%2f..%2fetc%2fpasswd",
    ],
)  # fmt: skip
def test_path_traversal_is_refused(desk: WebDesk, path: str) -> None:
    """Only files of the static folder are handed out."""
    browser = desk.browser("ann")
    # As raw as a socket could send it: a client library would tidy it up first.
    answer = asyncio.run(_raw(browser.app, path, browser.headers.get("cookie", "")))
    assert answer[0] in (303, 404, 405, 409), answer
    assert b"def web_app" not in answer[1]
    assert b"root:" not in answer[1]


def test_a_body_that_says_that_it_is_too_large_is_not_even_begun_with(desk: WebDesk) -> None:
    """However large the number is that says so."""
    for said in ("65537", "9" * 30):
        answer = asyncio.run(_raw(desk.site(), "/login", "", length=said))
        assert answer[0] == 413


async def _raw(app: Any, path: str, cookie: str, *, length: str = "") -> tuple[int, bytes]:
    from urllib.parse import unquote

    scope: Any = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
        "scheme": "https", "path": unquote(path), "raw_path": path.encode(), "root_path": "",
        "query_string": b"", "client": ("203.0.113.7", 1), "server": ("x", 443),
        "headers": [(b"host", HOST.encode()), (b"cookie", cookie.encode())],
    }  # fmt: skip
    if length:
        scope["headers"].append((b"content-length", length.encode()))
    sent: list[Any] = []

    async def receive() -> Any:
        assert not length, "expected a body that nobody reads"
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], b"".join(one.get("body", b"") for one in sent[1:])


def test_a_body_that_is_too_large_is_refused_unread(
    desk: WebDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger's at 64 KiB; told or not told beforehand."""
    client = desk.client()
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    large = b"x" * (reading.STRANGER_BYTES + 1)
    assert client.post("/login", content=large, headers=form).status_code == 413
    assert client.post("/login", content=iter([large]), headers=form).status_code == 413
    monkeypatch.setattr("rabbitjobs.web.guarding.PERSON_BYTES", 100_000)
    program = desk.program()
    case_id = desk.case()
    path, fence = f"/api/cases/{case_id}/comment", {"If-Match": '"1"'}
    assert program.post(path, json={"text": "x" * 100_001}, headers=fence).status_code == 413
    many = "&".join(f"a{number}=1" for number in range(25_000))
    monkeypatch.undo()
    browser = desk.browser("ann")
    assert browser.post(f"/cases/{case_id}/claim", content=many, headers=form).status_code == 413


def test_a_body_that_never_comes_ends_the_request(
    desk: WebDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a few clients that say nothing hold all there is."""
    monkeypatch.setattr("rabbitjobs.web.reading.SECONDS", 0.05)

    async def never() -> int:
        sent: list[Any] = []

        async def receive() -> Any:
            await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http", "method": "POST", "path": "/login", "root_path": "", "scheme": "https",
            "query_string": b"", "client": ("203.0.113.7", 1), "server": ("x", 443),
            "headers": [(b"host", HOST.encode()), (b"content-length", b"10")],
        }  # fmt: skip
        await desk.site()(scope, receive, send)
        return int(sent[0]["status"])

    assert asyncio.run(never()) == 408
