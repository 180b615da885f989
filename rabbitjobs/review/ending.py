"""Ending a case by hand: the case, its job's result and its unique key in one transaction."""

from __future__ import annotations

from sqlalchemy import Connection, select

from rabbitjobs.backend import result_rows, unique_rows
from rabbitjobs.backend.protocol import Record, Status
from rabbitjobs.errors import ActionRefused
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.review import store as rows
from rabbitjobs.review.case import Case
from rabbitjobs.store import inbox, outbox
from rabbitjobs.store.schema import jobs
from rabbitjobs.store.text import storable


def resolve(
    connection: Connection,
    namespace: str,
    case: Case,
    *,
    result: bytes,
    reason: str,
    who: str,
    now: float,
    keep: float,
) -> Case:
    """The job has succeeded with this result; a copy of its message that still comes is dropped."""
    envelope = case.envelope
    if envelope is not None:
        attempt = _last_attempt(connection, namespace, case, envelope)
        record = _record(
            case, envelope, Status.SUCCEEDED, attempt=attempt, now=now, keep=keep, result=result
        )
        _end_job(connection, namespace, envelope, record)
        entry = inbox.Entry(storable(envelope.id), case.attempt, b"", None, now)
        inbox.enter(connection, namespace, [entry])
    outcome = f"resolved by {who}" + (f": {reason}" if reason else "")
    return _end(connection, case, "resolved", outcome, reason, who=who, now=now)


def discard(
    connection: Connection,
    namespace: str,
    case: Case,
    *,
    reason: str,
    who: str,
    now: float,
    keep: float,
) -> Case:
    """The job has failed for good; its error says who gave it up and why."""
    envelope = case.envelope
    if envelope is not None:
        attempt = _last_attempt(connection, namespace, case, envelope)
        error = f"{case.error} (discarded by {who}: {reason})"
        record = _record(
            case, envelope, Status.FAILED, attempt=attempt, now=now, keep=keep, error=error
        )
        _end_job(connection, namespace, envelope, record)
    outcome = f"discarded by {who}: {reason}"
    return _end(connection, case, "discarded", outcome, reason, who=who, now=now)


def _end(
    connection: Connection,
    case: Case,
    state: str,
    outcome: str,
    reason: str,
    *,
    who: str,
    now: float,
) -> Case:
    ended = rows.change(
        connection, case, state=state, outcome=outcome, owner=who, closed=now, updated=now
    )
    action = "resolve" if state == "resolved" else "discard"
    rows.note(
        connection, case.id, at=now, who=who, action=action, detail=reason, version=ended.version,
        before=case.payload_hash, after=case.payload_hash,
    )  # fmt: skip
    return ended


def _last_attempt(connection: Connection, namespace: str, case: Case, envelope: Envelope) -> int:
    """The attempt to write the end under; refused if the job has ended well in the meantime."""
    shown = connection.execute(
        select(jobs.c.attempt, jobs.c.status).where(
            jobs.c.namespace == namespace, jobs.c.job_id == storable(envelope.id)
        )
    ).first()
    if shown is None:
        return case.attempt
    if shown.status == Status.SUCCEEDED.value:
        raise ActionRefused(
            f"expected a job without an end, got one that succeeded in attempt {shown.attempt}",
            job=case.job,
            job_id=envelope.id,
        )
    # Quarantined and expired are final states already: only a later attempt replaces them.
    return max(case.attempt, int(shown.attempt) + Status(shown.status).final)


def _record(
    case: Case,
    envelope: Envelope,
    status: Status,
    *,
    attempt: int,
    now: float,
    keep: float,
    result: bytes | None = None,
    error: str | None = None,
) -> Record:
    failed = status is Status.FAILED
    return Record(
        job_id=storable(envelope.id),
        attempt=attempt,
        job=envelope.job,
        queue=envelope.queue,
        status=status,
        enqueued=envelope.enqueued,
        started=now,
        ended=now,
        keep=keep,
        result=result,
        error_type=case.error_type if failed else None,
        error=error,
        traceback=case.traceback if failed else None,
        unique=envelope.unique,
    )


def _end_job(connection: Connection, namespace: str, envelope: Envelope, record: Record) -> None:
    result_rows.put_outcomes(connection, namespace, [record])
    unique_rows.free_ended(connection, namespace, [record])
    if envelope.on_done is not None:
        status, at = record.status.value, record.ended
        outbox.put(connection, namespace, envelope, ended_as=status, ended=at)
