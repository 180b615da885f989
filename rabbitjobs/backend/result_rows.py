"""The result rows: one for each job, and the rules for what may replace what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from rabbitjobs.backend.protocol import Record, Status, Stored
from rabbitjobs.store import bulk
from rabbitjobs.store.engine import Store
from rabbitjobs.store.statement import Row, run, run_many
from rabbitjobs.store.text import storable, storable_or_none

# A job that was queued, running or retrying and never ended (its queue was purged, say).
FORGOTTEN_SECONDS = 90 * 86400.0

_COLUMNS = bulk.Columns(
    "rj_jobs",
    (
        "namespace",
        "job_id",
        "job",
        "queue",
        "status",
        "attempt",
        "result",
        "error_type",
        "error",
        "traceback",
        "enqueued",
        "started",
        "ended",
        "worker",
        "expires",
    ),
    (
        *("text", "text", "text", "text", "text", "bigint", "bytea", "text", "text", "text"),
        *("float8", "float8", "float8", "text", "float8"),
    ),
)
_FINAL = ", ".join(f"'{status.value}'" for status in Status if status.final)
_REPLACE = "ON CONFLICT (namespace, job_id) DO UPDATE SET " + ", ".join(
    f"{name} = excluded.{name}" for name in _COLUMNS.names[2:]
)
_OUTCOME = (
    f"{_REPLACE} WHERE excluded.attempt > rj_jobs.attempt"
    f" OR (excluded.attempt = rj_jobs.attempt AND rj_jobs.status NOT IN ({_FINAL}))"
)
_RUNNING = (
    f"{_REPLACE} WHERE rj_jobs.status NOT IN ({_FINAL}) AND (excluded.attempt > rj_jobs.attempt"
    " OR (excluded.attempt = rj_jobs.attempt AND rj_jobs.status = 'queued'))"
)
_IN_REVIEW = (
    f"{_REPLACE} WHERE excluded.attempt > rj_jobs.attempt OR (excluded.attempt = rj_jobs.attempt"
    " AND rj_jobs.status IN ('queued', 'running', 'retrying'))"
)
_QUEUED = "ON CONFLICT DO NOTHING"
_FIELDS = (
    "job_id, job, queue, status, attempt, result, error_type, error, traceback, progress,"
    " enqueued, started, ended, expires"
)


def put_outcomes(connection: Connection, namespace: str, records: Sequence[Record]) -> None:
    """Write outcomes: a later attempt replaces an earlier one, a final state stays."""
    _put(connection, namespace, records, _OUTCOME)


def put_running(connection: Connection, namespace: str, records: Sequence[Record]) -> None:
    """Write that attempts run, where nothing newer and nothing final is known."""
    _put(connection, namespace, records, _RUNNING)


def put_in_review(connection: Connection, namespace: str, record: Record) -> None:
    """Write that a job is in review; what its own ending has written of that attempt stays."""
    _put(connection, namespace, [record], _IN_REVIEW)


def put_queued(connection: Connection, namespace: str, records: Sequence[Record]) -> None:
    """Write that jobs are queued, where nothing is known of them yet."""
    _put(connection, namespace, records, _QUEUED)


def put_progress(
    connection: Connection, namespace: str, items: Sequence[tuple[str, bytes]]
) -> None:
    """Write the progress of jobs that run."""
    rows = [(progress, namespace, job_id) for job_id, progress in sorted(items)]
    run_many(
        connection,
        "UPDATE rj_jobs SET progress = ? WHERE namespace = ? AND job_id = ? AND status = 'running'",
        rows,
    )


def find(
    connection: Connection, namespace: str, job_ids: Sequence[str], now: float
) -> dict[str, Stored]:
    """What is known of these jobs; unknown and expired ones are left out."""
    where, parameters = bulk.among_seconds(
        connection, _COLUMNS, [(namespace, job_id) for job_id in job_ids]
    )
    rows = run(connection, f"SELECT {_FIELDS} FROM rj_jobs {where}", parameters)
    return {row[0]: _as_stored(row) for row in rows if row[-1] is None or row[-1] > now}


def find_one(store: Store, job_id: str, now: float) -> Stored | None:
    """What is known of one job: what a caller who waits for its result asks often."""
    rows = store.select(
        f"SELECT {_FIELDS} FROM rj_jobs WHERE namespace = ? AND job_id = ?",
        (store.namespace, job_id),
    )
    return next((_as_stored(row) for row in rows if row[-1] is None or row[-1] > now), None)


def _put(connection: Connection, namespace: str, records: Sequence[Record], tail: str) -> None:
    newest: dict[str, Record] = {}
    for record in records:
        known = newest.get(record.job_id)
        if known is None or record.attempt >= known.attempt:
            newest[record.job_id] = record
    rows = [_as_row(namespace, newest[job_id]) for job_id in sorted(newest)]
    bulk.insert(connection, _COLUMNS, rows, tail)


def _as_row(namespace: str, record: Record) -> Row:
    return (
        namespace,
        record.job_id,
        storable(record.job),
        storable(record.queue),
        record.status.value,
        record.attempt,
        record.result if record.keep_result else None,
        storable_or_none(record.error_type),
        storable_or_none(record.error),
        storable_or_none(record.traceback),
        record.enqueued,
        record.started,
        record.ended,
        storable(record.worker),
        _expires(record),
    )


def _expires(record: Record) -> float | None:
    if record.status.final:
        return record.ended + record.keep
    if record.status is Status.IN_REVIEW:
        return None  # it waits for a person, however long that takes
    return max(record.ended, record.started, record.enqueued) + FORGOTTEN_SECONDS


def _as_stored(row: Sequence[Any]) -> Stored:
    return Stored(
        job_id=row[0],
        job=row[1],
        queue=row[2],
        status=Status(row[3]),
        attempt=row[4],
        result=_as_bytes(row[5]),
        error_type=row[6],
        error=row[7],
        traceback=row[8],
        progress=_as_bytes(row[9]),
        enqueued=row[10],
        started=row[11],
        ended=row[12],
    )


def _as_bytes(value: Any) -> bytes | None:
    return None if value is None else bytes(value)
