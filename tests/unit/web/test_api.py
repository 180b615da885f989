"""The HTTP API: all that the desk does, for programs with a token."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from rabbitjobs.errors import StoreUnavailable
from rabbitjobs.store.engine import Store
from tests.web_desk import WebDesk, web_desk

ROOT = Path(__file__).parents[3]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[WebDesk]:
    """A desk with people."""
    with web_desk(tmp_path / "config") as found:
        yield found


@pytest.fixture
def api(desk: WebDesk) -> TestClient:
    """A program with an admin's token."""
    return desk.program()


def act(api: TestClient, case_id: str, action: str, version: int | None, **body: Any) -> Any:
    headers = {} if version is None else {"If-Match": f'"{version}"'}
    return api.post(f"/api/cases/{case_id}/{action}", json=body, headers=headers)


def test_cases_are_listed_filtered_and_paged(desk: WebDesk, api: TestClient) -> None:
    """As the desk lists them."""
    ids = [desk.case(error=f"full {number}") for number in range(3)]
    page = api.get("/api/cases?limit=2").json()
    assert [one["id"] for one in page["cases"]] == ids[:0:-1]
    rest = api.get(f"/api/cases?limit=2&after={page['after']}").json()
    assert [one["id"] for one in rest["cases"]] == ids[:1]
    assert rest["after"] is None
    assert api.get("/api/cases?state=closed").json()["cases"] == []
    assert len(api.get("/api/cases?text=full&queue=emails&sort=oldest").json()["cases"]) == 3
    assert api.get("/api/groups").json()["groups"][0]["total"] == 3
    assert api.get("/api/stats").json()["states"] == {"open": 3}


@pytest.mark.parametrize(
    "query",
    [
        "limit=0", "limit=many", "limit=1001", "state=lost", "colour=red", "queue=a&queue=b",
        "since=yesterday", "since=nan", "since=inf", "claimed=perhaps", f"text={'x' * 501}",
    ],
)  # fmt: skip
def test_a_query_that_does_not_fit_is_refused(api: TestClient, query: str) -> None:
    """With a problem document that says where."""
    answer = api.get(f"/api/cases?{query}")
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["title"].startswith("Unprocessable")


def test_a_case_is_shown_with_its_etag_and_its_exact_bytes(desk: WebDesk, api: TestClient) -> None:
    """And what may be done with it."""
    case_id = desk.case(card="4111")
    answer = api.get(f"/api/cases/{case_id}")
    case = answer.json()
    assert answer.headers["etag"] == f'"{case["version"]}"'
    assert answer.headers["cache-control"] == "no-store"
    assert json.loads(base64.b64decode(case["payload"])) == case["arguments"]
    assert case["arguments"]["kwargs"] == {"card": "4111"}
    assert case["history"][0]["error"] == "late"
    assert {"claim", "retry", "edit", "discard"} <= set(case["offers"])
    assert api.get("/api/cases/0000").status_code == 404


def test_every_action_on_a_case_is_there_and_fenced(desk: WebDesk, api: TestClient) -> None:
    """One after the other, each with the version that the one before gave."""
    case_id = desk.case()
    version = 1
    for action, body in (
        ("claim", {}),
        ("comment", {"text": "asked the customer"}),
        ("tag", {"tags": ["vip"]}),
        ("escalate", {"reason": "he waits"}),
        ("let-go", {}),
        ("snooze", {"seconds": 3600, "reason": "they call back"}),
        ("wake", {}),
        ("retry", {}),
        ("reopen", {"reason": "its queue was deleted"}),
        ("discard", {"reason": "customer is gone"}),
    ):
        answer = act(api, case_id, action, version, **body)
        assert answer.status_code == 200, (action, answer.text)
        assert answer.headers["etag"] == f'"{answer.json()["version"]}"'
        assert answer.json()["version"] > version
        version = answer.json()["version"]
    assert answer.json()["state"] == "discarded"
    trail = api.get(f"/api/cases/{case_id}/audit").json()["audit"]
    assert [row["action"] for row in trail][:3] == ["open", "claim", "comment"]
    assert trail[1]["via"] == "api token test from 203.0.113.7"
    deeds = api.get("/api/audit?doer=ann&action=retry").json()["deeds"]
    assert [(row["case_id"], row["action"]) for row in deeds] == [(case_id, "retry")]
    assert api.get(f"/api/cases/{case_id}/comments").json()["comments"][0]["who"] == "ann"
    assert api.get(f"/api/cases/{case_id}/verify").json() == {"whole": True, "fault": None}


def test_whoever_saw_an_older_version_is_refused_and_told_what_changed(
    desk: WebDesk, api: TestClient
) -> None:
    """412; without a version 428; with one that is none 400."""
    case_id = desk.case()
    assert act(api, case_id, "comment", 1, text="first").status_code == 200
    stale = act(api, case_id, "discard", 1, reason="I saw the old one")
    assert stale.status_code == 412
    assert stale.json()["type"] == "urn:rabbitjobs:case-changed"
    assert "comment by ann" in stale.json()["detail"]
    assert act(api, case_id, "discard", None, reason="blind").status_code == 428
    for wrong in ("*", "2", 'W/"2"', '"x"', '"1", "2"'):
        answer = api.post(f"/api/cases/{case_id}/claim", json={}, headers={"If-Match": wrong})
        assert answer.status_code == 400, wrong
    assert api.get(f"/api/cases/{case_id}").json()["state"] == "open"


def test_a_claim_holds_others_off_until_it_is_stolen(desk: WebDesk, api: TestClient) -> None:
    """409 says who holds it."""
    case_id = desk.case()
    bob = desk.program("bob", "reviewer")
    assert act(bob, case_id, "claim", 1).status_code == 200
    refused = act(api, case_id, "retry", 2)
    assert refused.status_code == 409
    assert "claimed by bob" in refused.json()["detail"]
    assert act(bob, case_id, "heartbeat", None).status_code == 200
    assert act(api, case_id, "steal", 2, reason="bob is ill").status_code == 200
    assert act(bob, case_id, "heartbeat", None).status_code == 409


def test_an_edit_is_previewed_checked_and_sent(desk: WebDesk, api: TestClient) -> None:
    """To the byte; what does not fit the job, or is locked, is refused."""
    case_id = desk.case(invoice=5)
    path = f"/api/cases/{case_id}"
    good = b'{"payload": {"args": ["b@shop.example"] , "kwargs": {"invoice": 5}}}'
    headers = {"Content-Type": "application/json"}
    diff = api.post(f"{path}/preview", content=good, headers=headers)
    assert "b@shop.example" in diff.json()["diff"]
    fenced = {**headers, "If-Match": '"1"'}
    bad: Any
    for bad in ({"args": []}, {"args": ["b"], "kwargs": {"invoice": 6}}, {"args": [7]}, 5):
        answer = api.post(f"{path}/edit", json={"payload": bad}, headers=fenced)
        assert answer.status_code == 422, answer.text
    made = api.post(f"{path}/edit", content=good, headers=fenced).json()
    assert made["parent_id"] == case_id
    sent = base64.b64decode(made["payload"])
    assert sent == b'{"args": ["b@shop.example"] , "kwargs": {"invoice": 5}}'


def test_a_result_is_given_by_hand(desk: WebDesk, api: TestClient) -> None:
    """Any JSON that the job may return."""
    case_id = desk.case()
    assert act(api, case_id, "resolve", 1, result={"not": "a text"}).status_code == 422
    done = act(api, case_id, "resolve", 1, result="sent by phone", reason="they called")
    assert done.json()["state"] == "resolved"


def test_a_queue_that_is_not_there_is_the_brokers_no(desk: WebDesk, api: TestClient) -> None:
    """And the case is open again."""
    case_id = desk.case()
    answer = act(api, case_id, "retry", 1, queue="nowhere")
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:rabbitjobs:unroutable")
    assert api.get(f"/api/cases/{case_id}").json()["state"] == "open"


def test_a_bulk_action_is_frozen_tried_run_and_watched(desk: WebDesk, api: TestClient) -> None:
    """It runs beside the request; its outcomes are read one by one."""
    ids = [desk.case(error="full") for _ in range(3)]
    frozen = api.post(
        "/api/bulks",
        json={"action": "discard", "filters": {"text": "full"}, "terms": {"reason": "old"}},
    )
    assert frozen.status_code == 201, frozen.text
    bulk = frozen.json()
    assert (bulk["total"], bulk["state"]) == (3, "ready")
    path = f"/api/bulks/{bulk['id']}"
    tried = api.get(f"{path}/dry-run?limit=2").json()
    assert [one["outcome"] for one in tried["items"]] == ["would be: discard"] * 2
    assert api.post(f"{path}/run", json={}).status_code == 202
    deadline = time.monotonic() + 60
    while api.get(path).json()["state"] != "done":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    outcomes = api.get(f"{path}/items?fate=done").json()["items"]
    assert [one["case_id"] for one in outcomes] == ids
    assert api.get("/api/bulks").json()["bulks"][0]["id"] == bulk["id"]


def test_a_bulk_action_is_for_ids_or_filters_and_stops(desk: WebDesk, api: TestClient) -> None:
    """One that was stopped is run again only by a resume."""
    case_id = desk.case()
    for body in ({}, {"ids": [case_id], "filters": {}}):
        answer = api.post("/api/bulks", json={"action": "retry", **body})
        assert answer.status_code == 422, answer.text
    bulk = api.post("/api/bulks", json={"action": "retry", "ids": [case_id]}).json()
    path = f"/api/bulks/{bulk['id']}"
    assert api.post(f"{path}/stop", json={"reason": "not now"}).json()["state"] == "stopped"
    assert api.post(f"{path}/run").status_code == 409
    assert api.post(f"{path}/resume").status_code == 202
    assert api.get("/api/bulks/0000").status_code == 404


def test_exports_are_streamed_as_json_lines_and_csv(desk: WebDesk, api: TestClient) -> None:
    """As the command line prints them."""
    desk.case(error="=cmd()")
    lines = api.get("/api/export").text.splitlines()
    assert json.loads(lines[0])["error"] == "=cmd()"
    table = api.get("/api/export?form=csv")
    assert table.headers["content-type"].startswith("text/csv")
    assert "attachment" in table.headers["content-disposition"]
    assert next(csv.DictReader(io.StringIO(table.text)))["error"] == "'=cmd()"


def test_tokens_are_made_by_people_listed_and_revoked(desk: WebDesk) -> None:
    """The text is shown once; a token makes no token; a role is never more than its person's."""
    bob = desk.browser("bob")
    csrf = bob.get("/api/me").json()["csrf"]
    headers = {"X-CSRF-Token": csrf}
    assert bob.post("/api/tokens", json={"name": "ci"}).status_code == 403
    made = bob.post("/api/tokens", json={"name": "ci"}, headers=headers)
    assert made.status_code == 201, made.text
    text, token = made.json()["text"], made.json()["token"]
    assert token["role"] == "viewer"
    program = desk.client(site=bob.app, headers={"Authorization": f"Bearer {text}"})
    assert program.get("/api/me").json()["person"]["role"] == "viewer"
    assert program.post("/api/tokens", json={"name": "more"}).status_code == 403
    more = {"name": "ci", "role": "admin"}
    assert bob.post("/api/tokens", json=more, headers=headers).status_code == 403
    for_ann = {"name": "ci", "who": "ann"}
    assert bob.post("/api/tokens", json=for_ann, headers=headers).status_code == 403
    listed = bob.get("/api/tokens")
    assert [one["id"] for one in listed.json()["tokens"]] == [token["id"]]
    assert text not in listed.text
    assert bob.get("/api/tokens?who=ann").status_code == 403
    vic = desk.browser("vic", site=bob.app)
    gone = f"/api/tokens/{token['id']}"
    theirs = {"X-CSRF-Token": vic.get("/api/me").json()["csrf"]}
    assert vic.delete(gone, headers=theirs).status_code == 404
    assert bob.delete(gone, headers=headers).status_code == 204
    assert program.get("/api/me").status_code == 401


def test_people_are_for_admins(desk: WebDesk, api: TestClient) -> None:
    """As they stand in the config, without their passwords."""
    people = api.get("/api/people").json()["people"]
    assert [one["name"] for one in people] == ["ann", "bob", "vic", "robot"]
    assert "argon2" not in str(people)
    assert desk.program("vic", "viewer").get("/api/people").status_code == 403


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b'{"text": "a", "text', "application/json", 400),
        (b'{"text": 5}', "application/json", 422),
        (b'{"text": "  "}', "application/json", 422),
        (b'{"text": "a", "more": 1}', "application/json", 422),
        (b'{"text": "\xff"}', "application/json", 400),
        (b"[" * 100_000, "application/json", 422),
        (b'{"text": ' + b"[" * 100_000, "application/json", 422),
        (b"text=a", "application/x-www-form-urlencoded", 415),
        (b"", "application/json", 400),
    ],
)
def test_a_body_that_does_not_fit_is_refused(
    desk: WebDesk, api: TestClient, content: bytes, kind: str, status: int
) -> None:
    """And the case is as it was."""
    case_id = desk.case()
    headers = {"Content-Type": kind, "If-Match": '"1"'}
    answer = api.post(f"/api/cases/{case_id}/comment", content=content, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert api.get(f"/api/cases/{case_id}").json()["version"] == 1


def test_a_path_or_a_method_that_is_not_there_is_a_problem_document_too(api: TestClient) -> None:
    """A wrong method is told which there are."""
    assert api.get("/api/nowhere").headers["content-type"] == "application/problem+json"
    wrong = api.delete("/api/cases")
    assert (wrong.status_code, set(wrong.headers["allow"].split(", "))) == (405, {"GET", "HEAD"})
    assert wrong.json()["status"] == 405


def test_the_openapi_document_names_every_operation(api: TestClient) -> None:
    """It can be read without a token, below the path that it says."""
    document = TestClient(api.app, base_url="http://localhost").get("/api/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    assert document["servers"] == [{"url": "/api"}]
    names = {one["operationId"] for path in document["paths"].values() for one in path.values()}
    assert {"listCases", "claimCase", "letGoCase", "freezeBulk", "makeToken"} <= names
    assert len(names) == 39
    refs = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert refs == set(document["components"]["schemas"])


def test_the_program_of_the_guide_does_what_it_says(
    desk: WebDesk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a site of its own in place of https."""
    case_id = desk.case(error="mailbox full")
    page = (ROOT / "docs" / "guides" / "http-api.md").read_text()
    (program,) = re.findall(r"<!-- test: api -->\n```python\n(.*?)```", page, re.DOTALL)
    site = desk.site()
    monkeypatch.setenv("DESK_TOKEN", desk.token("robot", "reviewer"))
    monkeypatch.setattr(
        "httpx.Client", lambda base_url, headers: desk.client(base_url, site=site, headers=headers)
    )
    exec(compile(program, "http-api.md", "exec"), {})
    assert capsys.readouterr().out == f"{case_id} released\n"


def test_a_store_that_is_down_is_told_and_is_back_when_it_is(
    desk: WebDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 with the time to come again, on pages as in the API; nobody is logged out by it."""
    browser, api = desk.browser("ann"), desk.program()

    def down(*_given: Any) -> Any:
        raise StoreUnavailable("expected the store, got a connection refused: pg://u:hunter2@db/x")

    with monkeypatch.context() as patched:
        patched.setattr(Store, "read", down)
        for client, path in ((browser, "/cases"), (api, "/api/cases")):
            answer = client.get(path)
            assert answer.status_code == 503
            assert "expected the store" in answer.text
            assert "hunter2" not in answer.text
        assert answer.headers["retry-after"] == "5"
    assert browser.get("/cases").status_code == 200
    assert api.get("/api/cases").status_code == 200
