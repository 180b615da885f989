"""Deleting what has expired, in small transactions that hold nobody up for long."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import Connection, Delete, Table, delete, exists, or_, select, tuple_

from rabbitjobs.store.engine import Store
from rabbitjobs.store.schema import (
    LIVE_STATES,
    cancelled,
    cases,
    inbox,
    jobs,
    leases,
    told,
    unique_keys,
)

INBOX_KEPT_SECONDS = 7 * 86400.0
# It matters between a mail and the ack of its note, or until a notifier that died is back.
TOLD_KEPT_SECONDS = 7 * 86400.0
# Ended by their time alone, and of keys that nobody has asked for since; clocks differ a little.
LEASES_KEPT_SECONDS = 3600.0


class Swept(NamedTuple):
    """How many rows were deleted."""

    results: int
    inbox: int
    unique: int
    told: int
    cancelled: int
    leases: int


def sweep(store: Store, now: float, batch: int) -> Swept:
    """Delete expired rows of every kind; each transaction deletes at most ``batch`` rows."""
    return Swept(
        results=_drain(store, _first(jobs, batch, jobs.c.expires <= now), batch),
        inbox=_drain(store, _first(inbox, batch, *_past_use(now)), batch),
        unique=_drain(store, _first(unique_keys, batch, unique_keys.c.until <= now), batch),
        told=_drain(store, _first(told, batch, told.c.at <= now - TOLD_KEPT_SECONDS), batch),
        cancelled=_drain(store, _first(cancelled, batch, cancelled.c.until <= now), batch),
        leases=_drain(
            store, _first(leases, batch, leases.c.until <= now - LEASES_KEPT_SECONDS), batch
        ),
    )


def _past_use(now: float) -> tuple[Any, ...]:
    """Old enough, and of no job whose case lives or has ended only lately: those are pinned."""
    limit = now - INBOX_KEPT_SECONDS
    pinned = exists(
        select(cases.c.id).where(
            cases.c.namespace == inbox.c.namespace,
            cases.c.job_id == inbox.c.job_id,
            or_(cases.c.state.in_(LIVE_STATES), cases.c.closed > limit),
        )
    )
    return inbox.c.ended <= limit, ~pinned


def _first(table: Table, batch: int, *conditions: Any) -> Delete:
    keys = list(table.primary_key)
    chosen = select(*keys).where(*conditions).limit(batch)
    return delete(table).where(tuple_(*keys).in_(chosen))


def _drain(store: Store, statement: Delete, batch: int) -> int:
    def delete_some(connection: Connection) -> int:
        return int(connection.execute(statement).rowcount)

    total = count = store.run(delete_some)
    while count >= batch:
        count = store.run(delete_some)
        total += count
    return total
