"""Sessions and tokens of the web pages, on every database."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import msgspec
import pytest

from rabbitjobs.clock import uuid7
from rabbitjobs.errors import ActionRefused, NotAllowed, TokenNotFound
from rabbitjobs.review.options import Person
from rabbitjobs.review.web_options import WebOptions
from rabbitjobs.secret import Secret
from rabbitjobs.store.engine import Store
from rabbitjobs.web.sessions import EACH_MOST as SESSIONS_MOST
from rabbitjobs.web.sessions import Sessions
from rabbitjobs.web.tokens import EACH_MOST as TOKENS_MOST
from rabbitjobs.web.tokens import Tokens

ANN = Person(name="ann", role="admin")
VIC = Person(name="vic", role="viewer")
OPTIONS = WebOptions(people={"ann": Secret("a hash"), "vic": Secret("another hash")})
DAY = timedelta(days=1)


class Clock:
    """A time that a test moves."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Clock:
    return Clock()


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    found = Store(store_url, namespace=uuid7())
    yield found
    found.close()


@pytest.fixture
def sessions(store: Store, time: Clock) -> Sessions:
    return Sessions(lambda: store, OPTIONS, time)


@pytest.fixture
def tokens(store: Store, time: Clock) -> Tokens:
    return Tokens(lambda: store, time)


def test_a_session_is_found_by_its_cookie_until_it_ends(sessions: Sessions, time: Clock) -> None:
    """An hour without a request, or a logout."""
    cookie, other = sessions.begin("ann", via="web"), sessions.begin("vic", via="web")
    found = sessions.find(cookie)
    assert found is not None
    assert (found.who, found.expires) == ("ann", time.now + 12 * 3600)
    assert sessions.find("x" * 43) is None
    time.now += 3000
    assert sessions.find(cookie) is not None
    time.now += 3000
    assert sessions.find(cookie) is not None
    assert sessions.find(other) is None
    sessions.end(cookie)
    assert sessions.find(cookie) is None


def test_the_oldest_session_of_many_ends_and_old_rows_are_deleted(
    sessions: Sessions, store: Store, time: Clock
) -> None:
    """Of one person; nobody else's."""
    theirs = sessions.begin("vic", via="web")
    cookies = []
    for _ in range(SESSIONS_MOST + 3):
        time.now += 1
        cookies.append(sessions.begin("ann", via="web"))
    alive = [sessions.find(cookie) is not None for cookie in cookies]
    assert alive == [False] * 3 + [True] * SESSIONS_MOST
    assert sessions.find(theirs) is not None
    time.now += 13 * 3600
    sessions.begin("ann", via="web")
    assert sessions.end_all("ann") == 1
    assert sessions.end_all("vic") == 0


def test_a_session_of_another_app_or_password_is_none(store_url: str, time: Clock) -> None:
    """Two apps may share a database."""
    stores = [Store(store_url, namespace=uuid7()) for _ in range(2)]
    first, second = (Sessions(lambda one=one: one, OPTIONS, time) for one in stores)  # type: ignore[misc]
    cookie = first.begin("ann", via="web")
    assert second.find(cookie) is None
    changed = msgspec.structs.replace(OPTIONS, people={"ann": Secret("a new hash")})
    assert Sessions(lambda: stores[0], changed, time).find(cookie) is None
    assert first.find(cookie) is not None
    for one in stores:
        one.close()


def test_many_log_in_at_once(sessions: Sessions) -> None:
    """Each gets a session of his own."""
    with ThreadPoolExecutor(8) as pool:
        cookies = list(pool.map(lambda _: sessions.begin("ann", via="web"), range(16)))
    assert len(set(cookies)) == 16
    assert all(sessions.find(cookie) for cookie in cookies)


def test_a_token_is_found_by_its_text_until_it_expires(tokens: Tokens, time: Clock) -> None:
    """Its last use is noted; text that no database takes is no token."""
    made = tokens.make(ANN, name="ci \0 \ud800", role="reviewer", keep=DAY, by="ann")
    found = tokens.find(made.text)
    assert found is not None
    assert (found.id, found.seen) == (made.token.id, None)
    used = tokens.find(made.text)
    assert used is not None
    assert used.seen == time.now
    for wrong in ("", "rjt_", made.text[:-1], made.text + "x", "\ud800", made.token.id):
        assert tokens.find(wrong) is None
    time.now += DAY.total_seconds()
    assert tokens.find(made.text) is None
    assert tokens.list() == ()


def test_a_token_is_revoked_by_its_owner_only(tokens: Tokens) -> None:
    """An admin names no owner."""
    made = [tokens.make(one, name="ci", role="viewer", keep=DAY, by="ann") for one in (ANN, VIC)]
    assert [one.id for one in tokens.list("vic")] == [made[1].token.id]
    with pytest.raises(TokenNotFound):
        tokens.revoke(made[0].token.id, who="vic")
    tokens.revoke(made[1].token.id, who="vic")
    tokens.revoke(made[0].token.id)
    assert tokens.list() == ()


def test_terms_of_a_token_that_make_no_sense_are_refused(tokens: Tokens) -> None:
    """Nothing is made then."""
    with pytest.raises(NotAllowed, match="viewer at most"):
        tokens.make(VIC, name="ci", role="reviewer", keep=DAY, by="vic")
    for name, role, keep in (
        (" ", "viewer", DAY), ("x" * 101, "viewer", DAY), ("ci", "nobody", DAY),
        ("ci", "viewer", timedelta(seconds=1)), ("ci", "viewer", timedelta(days=400)),
    ):  # fmt: skip
        with pytest.raises(ActionRefused):
            tokens.make(ANN, name=name, role=role, keep=keep, by="ann")  # type: ignore[arg-type]
    assert tokens.list() == ()


def test_nobody_has_tokens_without_end(tokens: Tokens) -> None:
    """The hundredth is the last, until one is revoked."""
    made = [
        tokens.make(VIC, name="ci", role="viewer", keep=DAY, by="vic") for _ in range(TOKENS_MOST)
    ]
    with pytest.raises(ActionRefused, match="revoke"):
        tokens.make(VIC, name="ci", role="viewer", keep=DAY, by="vic")
    tokens.revoke(made[0].token.id)
    tokens.make(VIC, name="ci", role="viewer", keep=DAY, by="vic")
