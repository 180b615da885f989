"""Sessions: a random cookie, and a row in the store by its hash; the cookie itself says nothing."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable

import msgspec
from sqlalchemy import Connection, and_, delete, insert, or_, select, update

from rabbitjobs.review.web_options import WebOptions
from rabbitjobs.store.engine import Store
from rabbitjobs.store.schema import web_sessions
from rabbitjobs.store.text import storable

# The time of the last request is written this often at most: a write for each would cost more.
SEEN_SECONDS = 30.0
# So many at a time: who logs in everywhere ends his oldest session.
EACH_MOST = 20


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who is logged in; times are unix seconds."""

    who: str
    via: str
    created: float
    seen: float
    expires: float


class Sessions:
    """The sessions of one app. Every method may take as long as the store does: run it in a thread.

    A session is over when its person may no longer log in, or has got another password.
    """

    def __init__(
        self, store: Callable[[], Store], options: WebOptions, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._options = options
        self._clock = clock

    def begin(self, who: str, *, via: str) -> str:
        """Let somebody in; returns the new cookie, which nobody has ever seen."""
        cookie = secrets.token_urlsafe(32)
        store, now = self._store(), self._clock()
        row = {
            "namespace": store.namespace,
            "id_hash": _hash(cookie),
            "who": storable(who),
            "login": self._login_of(who),
            "via": storable(via),
            "created": now,
            "seen": now,
            "expires": now + self._options.session.total_seconds(),
        }
        mine = (web_sessions.c.namespace == store.namespace, web_sessions.c.who == row["who"])
        newest = (
            select(web_sessions.c.id_hash)
            .where(*mine)
            .order_by(web_sessions.c.created.desc())
            .limit(EACH_MOST)
        )
        over = or_(
            web_sessions.c.expires <= now,
            and_(*mine, web_sessions.c.id_hash.not_in(newest)),
        )

        def write(connection: Connection) -> None:
            connection.execute(insert(web_sessions).values(**row))
            connection.execute(
                delete(web_sessions).where(web_sessions.c.namespace == store.namespace, over)
            )

        store.run(write)
        return cookie

    def find(self, cookie: str) -> Session | None:
        """Whose cookie this is, if his session still runs; that counts as a request of his."""
        store, now = self._store(), self._clock()
        where = (
            web_sessions.c.namespace == store.namespace,
            web_sessions.c.id_hash == _hash(cookie),
        )
        row = store.read(lambda c: c.execute(select(web_sessions).where(*where)).first())
        if row is None or not row.login or row.login != self._login_of(row.who):
            return None
        idle = self._options.idle.total_seconds()
        if row.expires <= now or row.seen + idle <= now:
            return None
        if now - row.seen >= min(SEEN_SECONDS, idle / 4):
            store.run(lambda c: c.execute(update(web_sessions).where(*where).values(seen=now)))
        return Session(who=row.who, via=row.via, created=row.created, seen=now, expires=row.expires)

    def end(self, cookie: str) -> None:
        """Log out: the cookie is worth nothing from now on, wherever a copy of it is."""
        store = self._store()
        store.run(
            lambda c: c.execute(
                delete(web_sessions).where(
                    web_sessions.c.namespace == store.namespace,
                    web_sessions.c.id_hash == _hash(cookie),
                )
            )
        )

    def end_all(self, who: str) -> int:
        """Log somebody out everywhere; returns from how many sessions."""
        store = self._store()
        mine = (web_sessions.c.namespace == store.namespace, web_sessions.c.who == storable(who))
        return store.run(lambda c: int(c.execute(delete(web_sessions).where(*mine)).rowcount))

    def _login_of(self, who: str) -> str:
        password = self._options.people.get(who)
        return _hash(password.reveal())[:32] if password else ""


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
