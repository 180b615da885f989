"""The cancellations: who asked that which jobs end, kept until none of those can come any more.

A log: rows are added and expire, so that a reader who knows one number asks for what came after
it. Without SQLAlchemy, whose import takes longer than all else that a worker does when it starts.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from rabbitjobs.message.envelope import Envelope
from rabbitjobs.store.statement import run
from rabbitjobs.store.text import storable

if TYPE_CHECKING:
    from sqlalchemy import Connection

# Two that are written at once may be numbered in the one order and committed in the other: so a
# reader looks so many numbers back each time.
OVERLAP: Final = 1000
_GLANCE_SECONDS: Final = 1.0
# Times in messages are whole milliseconds, rounded.
_ROUNDED_SECONDS: Final = 0.001
_READ: Final = (
    "SELECT id, kind, value, at, grace, who, why FROM rj_cancelled"
    " WHERE namespace = ? AND id > ? AND until > ? ORDER BY id"
)


class Cancellation(msgspec.Struct, frozen=True, kw_only=True):
    """The order that a job (``kind`` id) or all jobs of a tag are to end.

    A tag means the jobs that were sent until ``at`` (unix seconds). ``grace`` is the seconds that
    a running job has before it is ended by force. ``number`` is its place in the log.
    """

    number: int = 0
    kind: Literal["id", "tag"]
    value: str
    at: float
    grace: float
    who: str
    why: str = ""

    def means(self, envelope: Envelope) -> bool:
        """Whether this job is to end."""
        if self.kind == "id":
            return self.value == storable(envelope.id)
        if envelope.tag is None or self.value != storable(envelope.tag):
            return False
        return envelope.enqueued <= self.at + _ROUNDED_SECONDS

    @property
    def said(self) -> str:
        """Who asked for it, and why, as one text."""
        return f"cancelled by {self.who}" + (f": {self.why}" if self.why else "")


def put(
    connection: Connection, namespace: str, orders: Sequence[Cancellation], *, until: float
) -> None:
    """Add orders, in place of earlier ones for the same jobs; they hold until then at most."""
    for one in orders:
        value = storable(one.value)
        run(
            connection,
            "DELETE FROM rj_cancelled WHERE namespace = ? AND kind = ? AND value = ?",
            (namespace, one.kind, value),
        )
        run(
            connection,
            "INSERT INTO rj_cancelled (namespace, kind, value, at, until, grace, who, why)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(namespace, one.kind, value, one.at, until, one.grace),
                *(storable(one.who), storable(one.why)),
            ),
        )


def since(
    connection: Connection, namespace: str, number: int, now: float
) -> tuple[Cancellation, ...]:
    """The orders that hold and came after ``number`` (and a little before it)."""
    return _read(run(connection, _READ, (namespace, number - OVERLAP, now)))


def ended(connection: Connection, namespace: str, job_ids: Iterable[str], until: float) -> None:
    """The orders for these jobs have been carried out: they are kept until then and no longer."""
    for job_id in sorted(job_ids):
        run(
            connection,
            "UPDATE rj_cancelled SET until = ? WHERE namespace = ? AND kind = 'id'"
            " AND value = ? AND until > ?",
            (until, namespace, job_id, until),
        )


class Glance:
    """Reads the orders from a SQLite file; raises ``sqlite3.Error`` for one that is no store."""

    def __init__(self, path: Path, namespace: str) -> None:
        self._path = path
        self._namespace = namespace
        self._connection: sqlite3.Connection | None = None

    def since(self, number: int, now: float) -> tuple[Cancellation, ...]:
        """See the function ``since``; from any thread, one at a time."""
        if self._connection is None:
            self._connection = sqlite3.connect(
                f"{self._path.absolute().as_uri()}?mode=rw",
                uri=True,
                timeout=_GLANCE_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
        found = self._connection.execute(_READ, (self._namespace, number - OVERLAP, now))
        return _read(found.fetchall())

    def close(self) -> None:
        """Let the file go."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _read(rows: Iterable[Any]) -> tuple[Cancellation, ...]:
    return tuple(
        Cancellation(
            number=row[0], kind=row[1], value=row[2], at=row[3], grace=row[4], who=row[5],
            why=row[6],
        )
        for row in rows
    )  # fmt: skip
