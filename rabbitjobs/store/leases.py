"""Leases of concurrency keys: who may run now, fenced by the token of his taking."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from rabbitjobs.clock import now
from rabbitjobs.store.statement import run


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A job wants ``key``, which ``limit`` jobs may hold at a time, for so many ``seconds``."""

    key: str
    limit: int
    job_id: str
    attempt: int
    token: str
    seconds: float


def claim(connection: Connection, namespace: str, claims: Sequence[Claim]) -> list[bool]:
    """Whether each has it now.

    A job takes its own earlier lease over (it was redelivered, its worker is gone): the earlier
    token renews no more. An attempt that is older than the one that holds it gets nothing.
    """
    granted: dict[int, bool] = {}
    for place in sorted(range(len(claims)), key=lambda place: claims[place].key):
        granted[place] = _claim(connection, namespace, claims[place])
    return [granted[place] for place in range(len(claims))]


def renew(connection: Connection, namespace: str, held: Sequence[Claim]) -> list[bool]:
    """Hold leases longer; ``False``: it has ended, or the job's next run has taken it over."""
    at = _lock(connection, namespace, ())
    renewed: dict[int, bool] = {}
    for place in sorted(range(len(held)), key=lambda place: held[place].key):
        renewed[place] = _renew(connection, namespace, held[place], at)
    return [renewed[place] for place in range(len(held))]


def free(connection: Connection, namespace: str, tokens: Sequence[tuple[str, str]]) -> None:
    """End leases: (job id, token) pairs. One that was taken over is left alone."""
    for job_id, token in sorted(tokens):
        run(
            connection,
            "DELETE FROM rj_leases WHERE job_id = ? AND namespace = ? AND token = ?",
            (job_id, namespace, token),
        )


def _claim(connection: Connection, namespace: str, one: Claim) -> bool:
    at = _lock(connection, namespace, (one.key,))
    own = (namespace, one.key, one.job_id)
    run(
        connection,
        "DELETE FROM rj_leases WHERE namespace = ? AND key = ? AND until <= ?",
        (namespace, one.key, at),
    )
    holders = run(
        connection,
        "SELECT job_id, attempt FROM rj_leases WHERE namespace = ? AND key = ?",
        (namespace, one.key),
    )
    held: dict[str, int] = dict(iter(holders))
    if one.job_id in held:
        if held[one.job_id] > one.attempt:
            return False
        run(
            connection,
            "DELETE FROM rj_leases WHERE namespace = ? AND key = ? AND job_id = ?",
            own,
        )
    elif len(held) >= one.limit:
        return False
    run(
        connection,
        "INSERT INTO rj_leases (namespace, key, job_id, attempt, token, until) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (*own, one.attempt, one.token, at + one.seconds),
    )
    return True


def _renew(connection: Connection, namespace: str, one: Claim, at: float) -> bool:
    # Past its time it is still his while nobody else has taken the place.
    done = run(
        connection,
        "UPDATE rj_leases SET until = ? "
        "WHERE namespace = ? AND key = ? AND job_id = ? AND token = ?",
        (at + one.seconds, namespace, one.key, one.job_id, one.token),
    )
    return bool(done.rowcount)


def _lock(connection: Connection, namespace: str, keys: Sequence[str]) -> float:
    """Nobody else counts the holders of these keys until the commit; what the time is.

    SQLite's writer has its lock already, and the clock of one machine is everybody's.
    """
    if connection.dialect.name == "sqlite":
        return now()
    for key in keys:
        run(
            connection,
            "SELECT pg_advisory_xact_lock(hashtextextended(?, 0))",
            (f"rj:{namespace}:{key}",),
        )
    return float(
        run(connection, "SELECT EXTRACT(EPOCH FROM clock_timestamp())::float8").fetchone()[0]
    )
