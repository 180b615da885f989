"""Fleet-wide rates in the store: one row for each, by which processes take their slices."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from rabbitjobs.clock import now
from rabbitjobs.store.slices import Ask, Line, Slice, share
from rabbitjobs.store.statement import run

_LOOK = "SELECT next_at, tail_at FROM rj_rates WHERE namespace = ? AND key = ?"
_LOCK = (
    "SELECT next_at, tail_at, EXTRACT(EPOCH FROM clock_timestamp())::float8 FROM rj_rates "
    "WHERE namespace = ? AND key = ? FOR UPDATE"
)


def take(connection: Connection, namespace: str, asks: Sequence[Ask]) -> list[Slice]:
    """A slice for each; by the clock of the database, or of the one machine of a SQLite store."""
    taken: dict[int, Slice] = {}
    # In one order everywhere: two processes that take of the same rates must not lock crosswise.
    for place in sorted(range(len(asks)), key=lambda place: asks[place].key):
        taken[place] = _take(connection, namespace, asks[place])
    return [taken[place] for place in range(len(asks))]


def _take(connection: Connection, namespace: str, ask: Ask) -> Slice:
    known, at = _look(connection, namespace, ask.key)
    line, taken = share(known, ask, at)
    run(
        connection,
        "UPDATE rj_rates SET next_at = ?, tail_at = ? WHERE namespace = ? AND key = ?",
        (line.next, line.tail, namespace, ask.key),
    )
    return taken


def _look(connection: Connection, namespace: str, key: str) -> tuple[Line | None, float]:
    """The line, locked, and what the time is."""
    sqlite = connection.dialect.name == "sqlite"
    for _ in range(2):
        found = run(connection, _LOOK if sqlite else _LOCK, (namespace, key)).fetchone()
        if found is not None:
            at = now() if sqlite else found[2]
            return (Line(found[0], found[1]) if found[0] else None), at
        run(
            connection,
            "INSERT INTO rj_rates (namespace, key, next_at, tail_at) VALUES (?, ?, 0, 0) "
            "ON CONFLICT DO NOTHING",
            (namespace, key),
        )
    raise AssertionError("a row that was inserted is there")
