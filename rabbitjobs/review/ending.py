"""Ending a case by hand: the case and the ending of its job, in one transaction."""

from __future__ import annotations

from typing import Literal

import msgspec
from sqlalchemy import Connection, select

from rabbitjobs.backend.protocol import Status
from rabbitjobs.ending.by_hand import settle_by_hand
from rabbitjobs.ending.settlement import Keeping, Outcome
from rabbitjobs.errors import ActionRefused
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.policy.decision import Decision, Failure
from rabbitjobs.review import store as rows
from rabbitjobs.review.case import Case
from rabbitjobs.store.schema import jobs
from rabbitjobs.store.text import storable


class ByHand(msgspec.Struct, frozen=True, kw_only=True):
    """Who ends a case, why and when (unix seconds); ``keep`` is the seconds its result lives."""

    who: str
    reason: str
    now: float
    keep: float


def resolve(
    connection: Connection, namespace: str, case: Case, by: ByHand, *, result: bytes
) -> Case:
    """The job has succeeded with this result; a copy of its message that still comes is dropped."""
    _end_job(connection, namespace, case, by, result=result)
    outcome = f"resolved by {by.who}" + (f": {by.reason}" if by.reason else "")
    return _end_case(connection, case, by, "resolved", outcome)


def discard(connection: Connection, namespace: str, case: Case, by: ByHand) -> Case:
    """The job has failed for good; its error says who gave it up and why."""
    outcome = f"discarded by {by.who}: {by.reason}"
    failure = Failure(
        kind=case.kind,
        error_type=case.error_type,
        error=f"{case.error} ({outcome})",
        classes=case.classes,
        traceback=case.traceback,
    )
    _end_job(connection, namespace, case, by, failure=failure, rule=outcome)
    return _end_case(connection, case, by, "discarded", outcome)


def _end_job(
    connection: Connection,
    namespace: str,
    case: Case,
    by: ByHand,
    *,
    result: bytes | None = None,
    failure: Failure | None = None,
    rule: str = "",
) -> None:
    """The one ending of a job, in this transaction; a message nobody can read has no job to end."""
    envelope = case.envelope
    if envelope is None:
        return
    settle_by_hand(
        connection,
        namespace,
        Outcome(envelope=envelope, started=by.now, ended=by.now, result=result, failure=failure),
        Decision(do="discard", rule=rule) if failure else None,
        Keeping(keep=by.keep),
        shown_as=_last_attempt(connection, namespace, case, envelope),
    )


def _end_case(
    connection: Connection,
    case: Case,
    by: ByHand,
    state: Literal["resolved", "discarded"],
    outcome: str,
) -> Case:
    ended = rows.change(
        connection, case, state=state, outcome=outcome, owner=by.who, closed=by.now, updated=by.now
    )
    action = "resolve" if state == "resolved" else "discard"
    rows.note(
        connection, case.id, at=by.now, who=by.who, action=action, detail=by.reason,
        version=ended.version, before=case.payload_hash, after=case.payload_hash,
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
