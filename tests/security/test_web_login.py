"""Login brute force, session fixation, open redirects: what each gets at the desk's web pages."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from sqlalchemy import text

from rabbitjobs.secret import Secret
from rabbitjobs.web.attempts import BY_CLIENT, BY_NAME, KEPT_MOST, WINDOW_SECONDS, Attempts
from rabbitjobs.web.login import safe_next
from rabbitjobs.web.passwords import Passwords, hash_password, weakness
from rabbitjobs.web.visitor import Visitor
from tests.web_desk import PASSWORDS, SITE, WebDesk, csrf_in, log_in, web_desk

SESSION = "__Host-rabbitjobs-shop-session"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[WebDesk]:
    """Ann, Bob and Vic may log in."""
    with web_desk(tmp_path / "config") as found:
        yield found


def rows(desk: WebDesk, table: str) -> list[Any]:
    return desk.store.read(lambda c: list(c.execute(text(f"SELECT * FROM {table}"))))


def test_login_brute_force_is_refused_before_the_password_is_looked_at(desk: WebDesk) -> None:
    """By client: after ten wrong ones not even the right one is let in, until time has passed."""
    client = desk.client()
    for _ in range(BY_CLIENT):
        assert log_in(client, "ann", "a wrong password").status_code == 403
    refused = log_in(client, "ann")
    assert refused.status_code == 429
    assert 0 < int(refused.headers["Retry-After"]) <= WINDOW_SECONDS + 1
    elsewhere = desk.client(site=client.app, peer="203.0.113.8")
    assert log_in(elsewhere, "ann").status_code == 303
    desk.later = WINDOW_SECONDS + 1
    assert log_in(client, "ann").status_code == 303


def test_brute_force_from_many_places_meets_the_limit_of_the_name(desk: WebDesk) -> None:
    """One name, thirty clients."""
    site = desk.site()
    for number in range(BY_NAME):
        client = desk.client(site=site, peer=f"203.0.113.{number}")
        assert log_in(client, "ann", "a wrong password").status_code == 403
    assert log_in(desk.client(site=site, peer="198.51.100.1"), "ann").status_code == 429
    assert log_in(desk.client(site=site, peer="198.51.100.1"), "bob").status_code == 303


def test_what_is_counted_of_wrong_logins_does_not_grow_without_end() -> None:
    """Whoever sends a million names fills no memory; those who try now are still counted."""
    attempts = Attempts(lambda: 1000.0)
    for number in range(KEPT_MOST * 2):
        attempts.failed("203.0.113.7", f"name {number}")
    assert len(attempts._failed) <= KEPT_MOST + 1
    assert attempts.wait("203.0.113.7", "anybody") > 0


def test_a_forwarded_address_that_no_proxy_of_ours_wrote_is_no_way_around_the_limit(
    desk: WebDesk,
) -> None:
    """X-Forwarded-For of a stranger is a text."""
    client = desk.client()
    for number in range(BY_CLIENT):
        client.headers["X-Forwarded-For"] = f"198.51.100.{number}"
        assert log_in(client, "ann", "a wrong password").status_code == 403
    assert log_in(client, "ann").status_code == 429


async def test_an_unknown_name_takes_as_long_as_a_wrong_password() -> None:
    """Else the time of an answer says who may log in.

    In turns, and the least of each: whatever else the machine does only makes an answer later.
    """
    hasher = PasswordHasher(time_cost=2, memory_cost=8192, parallelism=1)
    passwords = Passwords({"ann": Secret(hasher.hash("correct horse battery"))})

    async def seconds(name: str) -> float:
        began = time.perf_counter()
        assert not await passwords.fit(name, "a wrong password")
        return time.perf_counter() - began

    await seconds("nobody")
    turns = [(await seconds("ann"), await seconds("nobody")) for _ in range(15)]
    known, unknown = map(min, zip(*turns, strict=True))
    assert known / 3 < unknown < known * 3
    assert await passwords.fit("ann", "correct horse battery")


def test_an_unknown_name_and_a_wrong_password_get_the_same_answer(desk: WebDesk) -> None:
    """To the byte, but for the name that was typed and the token of the form."""
    pages = []
    for name in ("ann", "zoe"):
        client = desk.client()
        csrf = csrf_in(client.get("/login").text)
        answer = client.post("/login", data={"csrf": csrf, "name": name, "password": "x" * 20})
        pages.append((answer.status_code, answer.text.replace(csrf, "").replace(name, "")))
    assert pages[0] == pages[1]


def test_passwords_are_argon2id_and_short_ones_are_refused() -> None:
    """What the config holds is a hash with the costs of RFC 9106."""
    assert hash_password("correct horse battery").startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert weakness("short") is not None
    assert weakness("x" * 2000) is not None
    assert weakness("correct horse battery") is None


def test_session_fixation_is_refused_the_cookie_of_before_is_worth_nothing(desk: WebDesk) -> None:
    """The login makes a new cookie; one that somebody slipped in is never a session."""
    client = desk.client()
    slipped_in = "a" * 43
    client.cookies.set(SESSION, slipped_in, domain="desk.shop.example")
    answer = log_in(client, "ann")
    written = [one for one in answer.headers.get_list("set-cookie") if SESSION in one]
    assert slipped_in not in "".join(written)
    other = desk.client(site=client.app, headers={"Cookie": f"{SESSION}={slipped_in}"})
    assert other.get("/nowhere").headers["location"].startswith("/login")


def test_a_login_rotates_the_session_and_ends_the_one_before(desk: WebDesk) -> None:
    """A cookie that was copied before somebody else logs in is dead after it."""
    client = desk.browser("bob")
    before = client.cookies[SESSION]
    csrf = Visitor(how="session", cookie=before).csrf
    given = {"csrf": csrf, "name": "ann", "password": PASSWORDS["ann"]}
    assert client.post("/login", data=given).status_code == 303
    assert client.cookies[SESSION] != before
    copy = desk.client(site=client.app, headers={"Cookie": f"{SESSION}={before}"})
    assert copy.get("/nowhere").status_code == 303


def test_a_session_cookie_is_secure_httponly_samesite_and_bound_to_the_host(desk: WebDesk) -> None:
    """And the store holds its hash only."""
    client = desk.client()
    answer = log_in(client, "ann")
    (cookie,) = [
        one for one in answer.headers.get_list("set-cookie") if one.startswith(f"{SESSION}=")
    ]
    assert {"Secure", "HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
    assert "Domain" not in cookie
    value = client.cookies[SESSION]
    (row,) = rows(desk, "rj_web_sessions")
    assert value not in str(row)
    assert hashlib.sha256(value.encode()).hexdigest() in row


def test_a_session_ends_when_idle_and_after_its_longest_time_whatever_happens(
    desk: WebDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour without a request; twelve with them."""
    began = time.time()
    monkeypatch.setattr(desk, "now", lambda: began + desk.later)  # it stands still
    client = desk.browser("ann")
    desk.later = 3599
    assert client.get("/nowhere").status_code == 404
    desk.later += 3599
    assert client.get("/nowhere").status_code == 404
    desk.later += 3601
    assert client.get("/nowhere").status_code == 303
    desk.later = 0
    client = desk.browser("ann")
    for hour in range(1, 24):
        desk.later = hour * 1800
        assert client.get("/nowhere").status_code == 404
    desk.later = 12 * 3600 + 1
    assert client.get("/nowhere").status_code == 303


def test_a_logout_ends_the_session_in_the_store(desk: WebDesk) -> None:
    """A copy of the cookie is worth nothing then; a logout needs the token of a form."""
    client = desk.browser("ann")
    cookie = client.cookies[SESSION]
    assert client.post("/logout", data={"csrf": ""}).status_code == 403
    token = Visitor(how="session", cookie=cookie).csrf
    assert client.post("/logout", data={"csrf": token}).headers["location"] == "/login"
    copy = desk.client(site=client.app, headers={"Cookie": f"{SESSION}={cookie}"})
    assert copy.get("/nowhere").status_code == 303
    assert rows(desk, "rj_web_sessions") == []


def test_a_new_password_and_a_removed_person_end_their_sessions(tmp_path: Path) -> None:
    """Whoever had the old one is out with the restart that brings the new one."""
    with web_desk(tmp_path / "config") as desk:
        cookie = desk.browser("ann").cookies[SESSION]
    with web_desk(tmp_path / "config") as desk:  # every hash is new: another salt
        client = desk.client(headers={"Cookie": f"{SESSION}={cookie}"})
        assert client.get("/nowhere").status_code == 303


@pytest.mark.parametrize(
    "there",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "/\t/evil.example",
        "/\n/evil.example",
        "http:evil.example",
        "",
        "cases",
        "/" + "x" * 3000,
    ],
)
def test_an_open_redirect_after_the_login_goes_home_instead(desk: WebDesk, there: str) -> None:
    """Only a path of this site is gone on to."""
    client = desk.client()
    answer = log_in(client, "ann", next=there)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/"


def test_a_path_of_the_site_is_gone_on_to(desk: WebDesk) -> None:
    """With its query; below the prefix that the pages are mounted under only."""
    client = desk.client()
    first = client.get("/cases?state=open&q=a%26b")
    assert first.status_code == 303
    shown = client.get(first.headers["location"])
    assert 'name="next" value="/cases?state=open&amp;q=a%26b"' in shown.text
    answer = log_in(client, "ann", next="/cases?state=open&q=a%26b")
    assert answer.headers["location"] == "/cases?state=open&q=a%26b"
    assert safe_next("/other/page", "/desk") == "/desk/"
    assert safe_next("/desk/cases", "/desk") == "/desk/cases"
    assert safe_next("/desk.evil/", "/desk") == "/desk/"


def test_a_login_from_another_site_is_refused(desk: WebDesk) -> None:
    """Else somebody works in the name of whoever made him log in."""
    client = desk.client()
    given = {"name": "ann", "password": PASSWORDS["ann"]}
    assert client.post("/login", data=given).status_code == 403
    csrf = csrf_in(client.get("/login").text)
    evil = {"Origin": "https://evil.example"}
    assert client.post("/login", data={**given, "csrf": csrf}, headers=evil).status_code == 403
    ours = {"Origin": SITE}
    assert client.post("/login", data={**given, "csrf": csrf}, headers=ours).status_code == 303
