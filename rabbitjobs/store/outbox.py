"""The outbox: messages promised by a committed transaction, for a relay to publish.

A row holds the envelope and where it should go in the config's words (queue, delay); exchange and
routing key are found when it is published. It goes only after the broker's confirm, so a message
may be published twice and is never lost; the consumers' inbox drops the second one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec
from sqlalchemy import Connection, Row, and_, delete, func, insert, select, update

from rabbitjobs import clock
from rabbitjobs.errors import StoreError
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.store import audit
from rabbitjobs.store.connect import raise_translated
from rabbitjobs.store.engine import Store
from rabbitjobs.store.schema import cases, outbox
from rabbitjobs.store.text import storable
from rabbitjobs.store.undone import watch

LEASE_SECONDS = 30.0

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Envelope).decode


class OutboxRow(msgspec.Struct, frozen=True, kw_only=True):
    """One promised message. ``delay`` is seconds from its publishing; ``tries`` counts leases.

    ``ended_as`` makes it a note that the job has ended so, at ``ended`` (unix seconds), for the
    caller who asked for it; otherwise it is the job itself.
    """

    id: int
    queue: str
    delay: float | None
    envelope: Envelope
    tries: int = 0
    release_id: str | None = None
    case_id: str | None = None
    ended_as: str | None = None
    ended: float | None = None


def put(
    tx: Any,
    namespace: str,
    envelope: Envelope,
    *,
    delay: float | None = None,
    release_id: str | None = None,
    case_id: str | None = None,
    leased_for: float = 0.0,
    ended_as: str | None = None,
    ended: float | None = None,
    undone: Callable[[], None] | None = None,
) -> OutboxRow:
    """Promise a message inside the caller's transaction.

    ``tx`` is a SQLAlchemy ``Connection`` or ``Session`` on the database of the store. Nothing is
    sent if it rolls back. ``leased_for`` seconds keep relays away from a row that the caller is
    about to publish itself. ``undone`` is called if the transaction rolls back. Raises
    ``StoreOutdated`` if the outbox is not in that database.
    """
    connection = _connection_of(tx)
    values = {
        "namespace": namespace,
        "queue": envelope.queue,
        "delay": delay,
        "envelope": _encode(envelope),
        "created": clock.now(),
        "leased_until": clock.now() + leased_for if leased_for else 0.0,
        "tries": 0,
        "release_id": release_id,
        "case_id": case_id,
        "ended_as": ended_as,
        "ended": ended,
    }
    statement = insert(outbox).values(values).returning(outbox.c.id)
    try:
        row_id = connection.execute(statement).scalar_one()
    except Exception as error:
        raise_translated(error, "the database of this transaction")
    if undone is not None:
        watch(connection, row_id, undone)
    return OutboxRow(
        id=row_id,
        queue=envelope.queue,
        delay=delay,
        envelope=envelope,
        release_id=release_id,
        case_id=case_id,
    )


def _connection_of(tx: Any) -> Connection:
    if isinstance(tx, Connection):
        return tx
    # By its shape, not its class: SQLAlchemy's ORM is not imported for those who do not use it.
    if hasattr(tx, "connection") and not hasattr(tx, "run_sync"):
        return cast(Connection, tx.connection())
    raise StoreError(
        f"expected a SQLAlchemy Connection or Session for tx=, got {type(tx).__name__}; "
        "give the one whose transaction it is"
    )


async def aput(
    tx: Any, namespace: str, envelope: Envelope, *, delay: float | None = None
) -> OutboxRow:
    """``put`` for ``AsyncConnection`` and ``AsyncSession``; takes the plain ones too."""
    if hasattr(tx, "run_sync"):
        row: OutboxRow = await tx.run_sync(put, namespace, envelope, delay=delay)
        return row
    return put(tx, namespace, envelope, delay=delay)


class Outbox:
    """What a relay does with the outbox; any number of relays may run."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def take(self, limit: int = 100, *, lease: float = LEASE_SECONDS) -> list[OutboxRow]:
        """Lease the oldest rows that nobody has leased, for ``lease`` seconds.

        A relay that dies leaves its rows to the next one when the lease ends.
        """
        if not self._store.read(self._any_due):
            return []
        return self._store.run(lambda connection: self._lease(connection, limit, lease))

    async def atake(self, limit: int = 100, *, lease: float = LEASE_SECONDS) -> list[OutboxRow]:
        """The a-twin of ``take``."""
        if not await self._store.aread(self._any_due):
            return []
        return await self._store.arun(lambda connection: self._lease(connection, limit, lease))

    def published(self, rows: Sequence[OutboxRow]) -> None:
        """These rows are confirmed by the broker: delete them, and mark their cases released."""
        self._store.run(lambda connection: _published(connection, rows))

    async def apublished(self, rows: Sequence[OutboxRow]) -> None:
        """The a-twin of ``published``."""
        await self._store.arun(lambda connection: _published(connection, rows))

    def postpone(self, row: OutboxRow, error: str, seconds: float) -> None:
        """The row could not be published: keep the reason, try again in ``seconds``."""
        self._store.run(lambda connection: _postpone(connection, row, error, seconds))

    async def apostpone(self, row: OutboxRow, error: str, seconds: float) -> None:
        """The a-twin of ``postpone``."""
        await self._store.arun(lambda connection: _postpone(connection, row, error, seconds))

    def waiting(self) -> int:
        """How many rows are not confirmed yet."""
        query = (
            select(func.count())
            .select_from(outbox)
            .where(outbox.c.namespace == self._store.namespace)
        )
        return self._store.read(lambda connection: int(connection.execute(query).scalar_one()))

    def _due(self) -> Any:
        return and_(
            outbox.c.namespace == self._store.namespace, outbox.c.leased_until <= clock.now()
        )

    def _any_due(self, connection: Connection) -> bool:
        return (
            connection.execute(select(outbox.c.id).where(self._due()).limit(1)).first() is not None
        )

    def _lease(self, connection: Connection, limit: int, lease: float) -> list[OutboxRow]:
        token = clock.uuid7()
        due = select(outbox.c.id).where(self._due()).order_by(outbox.c.id).limit(limit)
        # SKIP LOCKED: two relays on PostgreSQL take different rows. SQLite has one writer anyway.
        # Not as a subquery of the update: PostgreSQL may run that for each row, past its limit.
        ids = connection.execute(due.with_for_update(skip_locked=True)).scalars().all()
        connection.execute(
            update(outbox)
            .where(outbox.c.id.in_(ids))
            .values(lease=token, leased_until=clock.now() + lease, tries=outbox.c.tries + 1)
        )
        query = select(outbox).where(outbox.c.lease == token).order_by(outbox.c.id)
        return [_as_row(row) for row in connection.execute(query)]


def withdraw(connection: Connection, row: OutboxRow) -> bool:
    """Take a promise back that was certainly not sent; ``False`` if a relay has it by now."""
    gone = connection.execute(
        delete(outbox).where(outbox.c.id == row.id, outbox.c.tries == row.tries)
    )
    return bool(gone.rowcount)


def withdraw_release(connection: Connection, release_id: str) -> None:
    """Take a release back; a relay that has it in hand may still publish it."""
    connection.execute(delete(outbox).where(outbox.c.release_id == release_id))


def _published(connection: Connection, rows: Sequence[OutboxRow]) -> None:
    ids = [row.id for row in rows]
    connection.execute(delete(outbox).where(outbox.c.id.in_(ids)))
    for row in rows:
        if row.release_id is not None:
            _mark_released(connection, row)


def _mark_released(connection: Connection, row: OutboxRow) -> None:
    # The job may have ended, or failed again, before its publisher came to say that it was sent.
    marked = connection.execute(
        update(cases)
        .where(cases.c.release_id == row.release_id, cases.c.state == "releasing")
        .values(state="released", updated=clock.now(), version=cases.c.version + 1)
    )
    if marked.rowcount:
        query = select(cases.c.id, cases.c.version).where(cases.c.release_id == row.release_id)
        case_id, version = connection.execute(query).one()
        audit.append(
            connection,
            case_id,
            at=clock.now(),
            who="relay" if row.tries else "desk",
            action="released",
            detail=f"confirmed by the broker, attempt {row.envelope.attempt}",
            version=version,
        )


def _postpone(connection: Connection, row: OutboxRow, error: str, seconds: float) -> None:
    connection.execute(
        update(outbox)
        .where(outbox.c.id == row.id)
        .values(error=storable(error), leased_until=clock.now() + seconds, lease=None)
    )


def _as_row(row: Row[Any]) -> OutboxRow:
    return OutboxRow(
        id=row.id,
        queue=row.queue,
        delay=row.delay,
        envelope=_decode(bytes(row.envelope)),
        tries=row.tries,
        release_id=row.release_id,
        case_id=row.case_id,
        ended_as=row.ended_as,
        ended=row.ended,
    )
