"""Scripts in payloads and other sites' forms: what each gets at the web pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.web_desk import (
    HOST,
    SITE,
    WebDesk,
    form_of,
    web_desk,
)

SCRIPT = "<script>alert('owned')</script><img src=x onerror=alert(1)>"
PAGES = ("/cases", "/groups", "/bulk", "/bulk/new", "/audit", "/people", "/help")
INLINE = re.compile(
    r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", re.IGNORECASE
)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[WebDesk]:
    """Ann, Bob and Vic may log in."""
    with web_desk(tmp_path / "config") as found:
        yield found


def test_a_script_in_a_payload_is_shown_as_text_on_every_page(desk: WebDesk) -> None:
    """In arguments, errors, job names, tags and comments; no page has a script of its own in it."""
    case_id = desk.case(error=SCRIPT, job=SCRIPT, text=SCRIPT, card=SCRIPT)
    as_ann = {"who": "ann"}
    desk.app.desk.comment(case_id, SCRIPT, version=1, **as_ann)
    desk.app.desk.tag(case_id, (SCRIPT,), version=2, **as_ann)
    browser = desk.browser("ann")
    shown = 0
    for path in (*PAGES, f"/cases/{case_id}", f"/cases/{case_id}/edit", f"/cases?q={SCRIPT}"):
        page = browser.get(path)
        assert page.status_code == 200, (path, page.text)
        assert "<script>alert" not in page.text, path
        assert "<img src=x" not in page.text, path
        assert not INLINE.search(page.text.replace("onerror=alert(1)", "")), path
        shown += page.text.count("&lt;script&gt;alert")
    assert shown > 5


def test_every_answer_forbids_inline_scripts_framing_sniffing_and_keeping(desk: WebDesk) -> None:
    """Pages, refusals, redirects, the API, and what goes wrong."""
    case_id = desk.case()
    browser = desk.browser("ann")
    answers = [browser.get(path) for path in (*PAGES, f"/cases/{case_id}", "/nowhere", "/")]
    answers += [browser.get("/api/cases"), browser.get("/api/nowhere"), browser.post("/cases")]
    answers += [desk.client().get("/cases"), desk.client().get("/login")]
    answers += [desk.client(headers={"Host": "evil.example"}).get("/")]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in answer.headers
    assert "no-store" not in browser.get("/static/desk.css").headers.get("cache-control", "")


def test_a_payload_is_handed_out_as_a_file_that_no_browser_runs(desk: WebDesk) -> None:
    """Bytes, as an attachment, not sniffed."""
    case_id = desk.case(text=SCRIPT)
    answer = desk.browser("ann").get(f"/cases/{case_id}/payload")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")


def test_an_error_of_ours_is_in_the_log_and_never_on_the_page(
    desk: WebDesk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No traceback, no text of it."""

    def broken(*_given: Any, **_named: Any) -> Any:
        raise ZeroDivisionError("the secret detail")

    browser = desk.browser("ann")
    monkeypatch.setattr("rabbitjobs.review.desk.Desk.list", broken)
    for path in ("/cases", "/api/cases"):
        answer = browser.get(path)
        assert answer.status_code == 500
        assert "secret detail" not in answer.text
        assert "ZeroDivision" not in answer.text
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert "the secret detail" in caplog.text


@pytest.mark.parametrize("action", ["retry", "approve", "discard", "claim", "resolve"])
def test_a_cross_site_post_to_an_action_is_refused(desk: WebDesk, action: str) -> None:
    """Without the token, with a wrong one, with that of another, from another origin."""
    case_id = desk.case()
    browser = desk.browser("ann")
    fields = {**form_of(browser, case_id), "reason": "r", "result": "1"}
    others = form_of(desk.browser("bob", site=browser.app), case_id)["csrf"]
    path = f"/cases/{case_id}/{action}"
    for token in ("", "0" * 64, others):
        assert browser.post(path, data={**fields, "csrf": token}).status_code == 403
    twice = f"csrf={fields['csrf']}&csrf={fields['csrf']}&version=1"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert browser.post(path, content=twice, headers=form).status_code == 403
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://{HOST}"},
        {"Origin": f"{SITE}.evil.example"},
        {"Origin": f"{SITE}:8443"},
        {"Referer": "https://evil.example/desk"},
        {"Referer": "nonsense"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        assert browser.post(path, data=fields, headers=headers).status_code == 403, headers
    assert desk.app.desk.get(case_id).version == 1


def test_the_form_of_our_own_page_is_taken(desk: WebDesk) -> None:
    """So that the test above refuses for the right reason."""
    case_id = desk.case()
    browser = desk.browser("ann")
    fields = {**form_of(browser, case_id), "reason": "r"}
    headers = {"Origin": SITE, "Sec-Fetch-Site": "same-origin"}
    answer = browser.post(f"/cases/{case_id}/discard", data=fields, headers=headers)
    assert answer.status_code == 303
    assert desk.app.desk.get(case_id).state == "discarded"


def test_a_form_that_a_script_could_send_as_another_type_is_refused(desk: WebDesk) -> None:
    """Plain forms only: no multipart, no text, no JSON on the pages."""
    case_id = desk.case()
    browser = desk.browser("ann")
    fields = form_of(browser, case_id)
    path = f"/cases/{case_id}/claim"
    assert browser.post(path, json=fields).status_code == 415
    assert browser.post(path, files={"csrf": fields["csrf"]}).status_code == 415
    text = {"Content-Type": "text/plain"}
    assert browser.post(path, content=f"csrf={fields['csrf']}", headers=text).status_code == 415


def test_a_page_that_is_read_changes_nothing(desk: WebDesk) -> None:
    """No action answers a GET."""
    case_id = desk.case()
    browser = desk.browser("ann")
    for action in ("claim", "retry", "discard"):
        assert browser.get(f"/cases/{case_id}/{action}").status_code in (404, 405)
    assert browser.get("/logout").status_code == 405
    assert desk.app.desk.get(case_id).version == 1


def test_the_api_takes_no_session_without_its_token_and_no_other_site(desk: WebDesk) -> None:
    """A cookie alone changes nothing; no preflight is ever answered with a yes."""
    case_id = desk.case()
    browser = desk.browser("ann")
    path, fence = f"/api/cases/{case_id}/claim", {"If-Match": '"1"'}
    assert browser.post(path, json={}, headers=fence).status_code == 403
    token = {"X-CSRF-Token": browser.get("/api/me").json()["csrf"], **fence}
    evil = {**token, "Origin": "https://evil.example"}
    assert browser.post(path, json={}, headers=evil).status_code == 403
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    answer = browser.options(path, headers=asked)
    assert answer.status_code >= 400
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert browser.post(path, json={}, headers=token).status_code == 200
