"""The inbox: one row for each recorded attempt, the one key of deduplication."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from rabbitjobs.store import bulk
from rabbitjobs.store.schema import inbox
from rabbitjobs.store.statement import Row, run

Key = tuple[str, int]
"""(job id, attempt)"""

_COLUMNS = bulk.Columns(
    "rj_inbox",
    ("namespace", "job_id", "attempt", "decision", "release_id", "ended"),
    ("text", "text", "bigint", "bytea", "text", "float8"),
)


class Entry(NamedTuple):
    """One attempt's entry: the encoded decision (``b""``: a success), the release, the end."""

    job_id: str
    attempt: int
    decision: bytes
    release_id: str | None
    ended: float


def enter(connection: Connection, namespace: str, entries: Iterable[Entry]) -> set[Key]:
    """Enter attempts; returns the keys that are new. The first entry of a key counts."""
    rows: dict[Key, Row] = {}
    for entry in entries:
        rows.setdefault((entry.job_id, entry.attempt), (namespace, *entry))
    # In one order everywhere: two processes that enter the same keys must not lock crosswise.
    ordered = [rows[key] for key in sorted(rows)] if len(rows) > 1 else list(rows.values())
    fresh = bulk.insert_new(connection, _COLUMNS, ordered, key=3)
    return {(job_id, attempt) for _namespace, job_id, attempt in fresh}


def entered_before(connection: Connection, namespace: str, entries: Sequence[Entry]) -> set[Key]:
    """The keys whose row in the inbox is this very entry, to the float of its end.

    A commit whose answer was lost is tried again by the same writer: that is no other's attempt.
    """
    if not entries:
        return set()
    where, parameters = bulk.among_seconds(
        connection, _COLUMNS, [(namespace, entry.job_id) for entry in entries]
    )
    found = run(
        connection,
        f"SELECT job_id, attempt, decision, release_id, ended FROM rj_inbox {where}",
        parameters,
    )
    known = {Entry(row[0], row[1], bytes(row[2]), row[3], row[4]) for row in found}
    return {(entry.job_id, entry.attempt) for entry in entries if entry in known}


def decisions(connection: Connection, namespace: str, keys: Sequence[Key]) -> dict[Key, bytes]:
    """The decisions recorded for these attempts; keys without an entry are left out."""
    if not keys:
        return {}
    where, parameters = bulk.among_seconds(
        connection, _COLUMNS, [(namespace, job_id) for job_id, _attempt in keys]
    )
    found = run(connection, f"SELECT job_id, attempt, decision FROM rj_inbox {where}", parameters)
    return {(job_id, attempt): bytes(decision) for job_id, attempt, decision in found}


def last_attempt(connection: Connection, namespace: str, job_id: str) -> int:
    """The highest attempt recorded for a job, 0 if there is none."""
    query = select(func.max(inbox.c.attempt)).where(
        inbox.c.namespace == namespace, inbox.c.job_id == job_id
    )
    return int(connection.execute(query).scalar() or 0)
