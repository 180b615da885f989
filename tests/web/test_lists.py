"""Lists: every filter is a link, pages go on by key, and an empty list explains itself."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest

from rabbitjobs.review.case import Case
from rabbitjobs.review.desk import Desk
from rabbitjobs.web.pages import listing

Land = Callable[..., Case]


def rows(page: str) -> list[str]:
    return re.findall(r'id="row-([^"]+)"', page)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", {"free", "held"}),
        ("?state=open", {"free", "held", "asleep"}),
        ("?state=snoozed", {"asleep"}),
        ("?state=all", {"free", "held", "asleep", "ended"}),
        ("?state=discarded", {"ended"}),
        ("?held=yes", {"held"}),
        ("?held=no", {"free"}),
        ("?queue=images", {"free"}),
        ("?q=ann@example", {"held"}),
        ("?state=open&owner=ann&held=yes", {"held"}),
        ("?tag=vip&state=all", {"ended"}),
        ("?older=1d", set()),
        ("?newer=1d&error=smtplib.SMTPDataError", {"free", "held"}),
        ("?origin=quarantine", set()),
    ],
)
async def test_a_filter_is_a_link(
    web: httpx.AsyncClient, desk: Desk, land: Land, query: str, found: set[str]
) -> None:
    made = {
        "free": land(queue="images"),
        "held": land(b'{"args":["ann@example.org"],"kwargs":{}}'),
        "asleep": land(),
        "ended": land(),
    }
    desk.claim(made["held"].id, who="ann", version=1)
    desk.snooze(made["asleep"].id, timedelta(hours=1), who="ann", version=1)
    desk.tag(made["ended"].id, ("vip",), who="ann", version=1)
    desk.discard(made["ended"].id, "old", who="ann", version=2)
    page = await web.get(f"/cases{query}")
    names = {case.id: name for name, case in made.items()}
    assert {names[one] for one in rows(page.text)} == found


@pytest.mark.parametrize("sort", ["newest", "oldest", "updated"])
async def test_pages_go_on_by_key(
    web: httpx.AsyncClient, land: Land, sort: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "PAGE", 2)
    made = [land().id for _ in range(5)]
    seen, link = [], f"?sort={sort}"
    while link:
        page = (await web.get(f"/cases{link}")).text
        seen += rows(page)
        following = re.search(r'rel="next" href="([^"]+)"', page)
        link = html.unescape(following.group(1)) if following else ""
    assert seen == (made if sort == "oldest" else made[::-1])


@pytest.mark.parametrize(
    "query", ["?state=nowhere", "?sort=random", "?held=maybe", "?newer=soon", "?q=" + "x" * 600]
)
async def test_a_link_that_means_nothing_is_refused(web: httpx.AsyncClient, query: str) -> None:
    page = await web.get(f"/cases{query}")
    assert page.status_code == 409
    assert "expected" in page.text


async def test_an_empty_list_explains_itself(
    web: httpx.AsyncClient, desk: Desk, land: Land
) -> None:
    assert "rabbitjobs intake" in (await web.get("/cases")).text
    case = land()
    assert "No case fits" in (await web.get("/cases?queue=nothing")).text
    desk.discard(case.id, "old", who="ann", version=1)
    assert "Nothing waits for a person" in (await web.get("/cases")).text


async def test_a_group_counts_and_leads_to_its_cases(web: httpx.AsyncClient, land: Land) -> None:
    case, *_ = [land() for _ in range(3)]
    page = (await web.get("/groups")).text
    assert f"group={case.fingerprint}" in page
    assert "<b>3</b>" in page
    assert len(rows((await web.get(f"/cases?group={case.fingerprint}")).text)) == 3
    assert "2 other cases have" in (await web.get(f"/cases/{case.id}")).text


async def test_limits_hold_on_every_list(web: httpx.AsyncClient, land: Land) -> None:
    case, own = land(), land(queue="images")
    for path in ("/cases", "/groups", "/audit", "/export/csv", "/export/jsonl"):
        page = (await web.get(path, headers={"x-who": "cat"})).text
        assert case.id not in page, path
    assert rows((await web.get("/cases", headers={"x-who": "cat"})).text) == [own.id]
    assert (await web.get("/cases", headers={"x-who": "eve"})).status_code == 403


async def test_an_export_is_a_file(web: httpx.AsyncClient, land: Land) -> None:
    case = land()
    page = await web.get("/export/csv?state=open")
    assert page.headers["content-disposition"] == 'attachment; filename="cases.csv"'
    assert case.id in page.text
    assert (await web.get("/export/exe")).status_code == 404


async def test_the_audit_tells_all_of_it(web: httpx.AsyncClient, desk: Desk, land: Land) -> None:
    case = land()
    desk.comment(case.id, "asked <her>", who="ann", version=1)
    desk.claim(case.id, who="bob", version=2)
    page = (await web.get("/audit")).text
    assert "asked &lt;her&gt;" in page
    assert page.index("<b>bob</b>") < page.index("<b>ann</b>", page.index("deeds-list"))
    only = (await web.get("/audit?by=bob&action=claim")).text
    assert "asked" not in only
    assert "<b>bob</b> claim" in only


async def test_scripts_and_strange_signs_are_text(web: httpx.AsyncClient, land: Land) -> None:
    """Whatever a message says, in every place where it is shown."""
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\u202e\x1b[31m"
    body = b'{"args":["<script>alert(2)</script>"],"kwargs":{"\\"><script>x</script>":1}}'
    case = land(body, job=evil, queue=evil)
    for path in ("/cases", "/groups", f"/cases/{case.id}", f"/cases/{case.id}/edit", "/audit",
                 f"/cases/{case.id}/edit?as=json", "/bulk/new"):  # fmt: skip
        page = (await web.get(path, headers={"x-who": "top"})).text
        assert page.count("<script") == 1, path
        assert "<img" not in page
        assert "\u202e" not in page
        assert "\x1b" not in page
    assert "\\u202e" in (await web.get(f"/cases/{case.id}", headers={"x-who": "top"})).text


async def test_a_message_that_nobody_can_read_has_a_page(
    web: httpx.AsyncClient, desk: Desk, land: Land
) -> None:
    """Its bytes are shown as they are, and can be saved; nothing is offered that needs a job."""
    raw = b"\xff\x00<b>"
    case = land(envelope=None, raw=raw, reason="quarantine")
    top = {"x-who": "top"}
    page = (await web.get(f"/cases/{case.id}", headers=top)).text
    assert "Nobody can read them" in page
    assert "\\xff\\u0000&lt;b&gt;" in page
    assert "/retry" not in page
    assert f"/cases/{case.id}/discard" in page
    assert (await web.get(f"/cases/{case.id}/payload", headers=top)).content == raw
    # A secret may be anywhere in it.
    assert "xff" not in (await web.get(f"/cases/{case.id}")).text
    assert rows((await web.get("/cases?origin=quarantine")).text) == [case.id]


async def test_a_large_payload_is_cut_on_the_page_and_whole_in_the_file(
    web: httpx.AsyncClient, land: Land
) -> None:
    body = b'{"args":["' + b"x" * 300_000 + b'"],"kwargs":{}}'
    case = land(body)
    page = (await web.get(f"/cases/{case.id}")).text
    assert len(page) < 200_000
    assert "cut here" in page
    assert (await web.get(f"/cases/{case.id}/payload")).content == body
