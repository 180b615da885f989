"""Tokens of the HTTP API: random, kept by hash, each acts as a person with a role at most."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from datetime import timedelta

import msgspec
from sqlalchemy import Connection, delete, func, insert, select, update

from rabbitjobs.clock import uuid7
from rabbitjobs.errors import ActionRefused, NotAllowed, TokenNotFound
from rabbitjobs.review.options import ROLES, Person, Role
from rabbitjobs.store.engine import Store
from rabbitjobs.store.schema import web_tokens
from rabbitjobs.store.text import storable

PREFIX = "rjt_"
LONGEST = timedelta(days=366)
NAME_MOST = 100
EACH_MOST = 100
SEEN_SECONDS = 60.0
_SHOWN = [
    web_tokens.c[name]
    for name in ("id", "name", "who", "role", "made_by", "created", "seen", "expires")
]


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a token: never its text. Times are unix seconds, ``seen`` the last use."""

    id: str
    name: str
    who: str
    role: Role
    made_by: str
    created: float
    seen: float | None
    expires: float


class NewToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token just made, with its ``text``, which is shown this once."""

    token: Token
    text: str


class Tokens:
    """The tokens of one app. A method takes as long as the store does: run it in a thread."""

    def __init__(self, store: Callable[[], Store], clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock

    def make(self, person: Person, *, name: str, role: Role, keep: timedelta, by: str) -> NewToken:
        """A token that acts as ``person`` with ``role`` at most, for as long as ``keep``.

        Raises ``NotAllowed`` for more than the person may do, ``ActionRefused`` for terms that
        make no sense.
        """
        _check(person, name, role, keep)
        text = PREFIX + secrets.token_urlsafe(32)
        now = self._clock()
        made = Token(
            id=uuid7(), name=storable(name), who=storable(person.name), role=role,
            made_by=storable(by), created=now, seen=None, expires=now + keep.total_seconds(),
        )  # fmt: skip
        store = self._store()
        row = {**msgspec.structs.asdict(made), "namespace": store.namespace}

        def write(connection: Connection) -> None:
            ours = web_tokens.c.namespace == store.namespace
            connection.execute(delete(web_tokens).where(ours, web_tokens.c.expires <= now))
            count = select(func.count()).where(ours, web_tokens.c.who == made.who)
            if connection.execute(count).scalar_one() >= EACH_MOST:
                raise ActionRefused(
                    f"expected fewer than {EACH_MOST} tokens for {person.name}, got as many; "
                    "revoke those that nobody needs"
                )
            connection.execute(insert(web_tokens).values(token_hash=_hash(text), **row))

        store.run(write)
        return NewToken(token=made, text=text)

    def find(self, text: str) -> Token | None:
        """The token with this text, if it is one and has not expired."""
        store, now = self._store(), self._clock()
        where = (
            web_tokens.c.namespace == store.namespace,
            web_tokens.c.token_hash == _hash(text),
            web_tokens.c.expires > now,
        )
        row = store.read(lambda c: c.execute(select(*_SHOWN).where(*where)).first())
        if row is None:
            return None
        if row.seen is None or now - row.seen >= SEEN_SECONDS:
            store.run(lambda c: c.execute(update(web_tokens).where(*where).values(seen=now)))
        return Token(**row._mapping)

    def list(self, who: str | None = None) -> tuple[Token, ...]:
        """All that have not expired, or those of one person; the newest first."""
        store, now = self._store(), self._clock()
        query = select(*_SHOWN).where(
            web_tokens.c.namespace == store.namespace, web_tokens.c.expires > now
        )
        if who is not None:
            query = query.where(web_tokens.c.who == storable(who))
        rows = store.read(lambda c: c.execute(query.order_by(web_tokens.c.id.desc())).all())
        return tuple(Token(**row._mapping) for row in rows)

    def revoke(self, token_id: str, *, who: str | None = None) -> None:
        """End a token, one of ``who`` if named; raises ``TokenNotFound``."""
        store = self._store()
        where = [
            web_tokens.c.namespace == store.namespace,
            web_tokens.c.id == storable(token_id),
        ]
        if who is not None:
            where.append(web_tokens.c.who == storable(who))
        gone = store.run(lambda c: int(c.execute(delete(web_tokens).where(*where)).rowcount))
        if not gone:
            raise TokenNotFound(f"expected the id of a token, got {token_id}; list them")


def narrowed(person: Person, role: Role) -> Person:
    """The person with ``role`` at most."""
    return msgspec.structs.replace(person, role=ROLES[min(map(ROLES.index, (person.role, role)))])


def _check(person: Person, name: str, role: Role, keep: timedelta) -> None:
    if ROLES.index(role) > ROLES.index(person.role):
        raise NotAllowed(
            f"expected a role of {person.role} at most for a token of {person.name}, got {role}"
        )
    if role == "nobody":
        raise ActionRefused("expected a token for a viewer, reviewer or admin, got nobody")
    if not 0 < len(name.strip()) <= NAME_MOST:
        raise ActionRefused(
            f"expected a name of 1 to {NAME_MOST} characters that says what the token is for"
        )
    if not timedelta(minutes=1) <= keep <= LONGEST:
        raise ActionRefused(f"expected a token to live 1m to {LONGEST.days}d, got {keep}")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
