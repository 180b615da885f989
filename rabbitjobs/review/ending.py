"""Ending a case by hand: the case and the ending of its job, in one transaction."""

from __future__ import annotations

from typing import Literal

from sqlalchemy import Connection, select

from rabbitjobs.backend.protocol import Status
from rabbitjobs.ending.by_hand import settle_by_hand
from rabbitjobs.ending.settlement import Keeping, Outcome
from rabbitjobs.errors import ActionRefused
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.policy.decision import Decision, Failure
from rabbitjobs.review import store as rows
from rabbitjobs.review.case import Case
from rabbitjobs.review.hand import Hand
from rabbitjobs.store.schema import jobs
from rabbitjobs.store.text import storable

_DONE = {"discard": "discarded", "reject": "rejected"}


def resolve(connection: Connection, hand: Hand, case: Case, reason: str, *, result: bytes) -> Case:
    """The job has succeeded with this result; a copy of its message that still comes is dropped."""
    _end_job(connection, hand, case, result=result)
    outcome = f"resolved by {hand.who}" + (f": {reason}" if reason else "")
    return _end_case(connection, hand, case, "resolved", outcome, "resolve", reason)


def discard(
    connection: Connection,
    hand: Hand,
    case: Case,
    reason: str,
    action: Literal["discard", "reject"] = "discard",
) -> Case:
    """The job has failed for good; its error says who gave it up and why."""
    outcome = f"{_DONE[action]} by {hand.who}: {reason}"
    failure = Failure(
        kind=case.kind,
        error_type=case.error_type,
        error=f"{case.error} ({outcome})",
        classes=case.classes,
        traceback=case.traceback,
    )
    _end_job(connection, hand, case, failure=failure, rule=outcome)
    return _end_case(connection, hand, case, "discarded", outcome, action, reason)


def _end_job(
    connection: Connection,
    hand: Hand,
    case: Case,
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
        hand.namespace,
        Outcome(
            envelope=envelope, started=hand.now, ended=hand.now, result=result, failure=failure
        ),
        Decision(do="discard", rule=rule) if failure else None,
        Keeping(keep=hand.keep),
        shown_as=_last_attempt(connection, hand.namespace, case, envelope),
    )


def _end_case(
    connection: Connection,
    hand: Hand,
    case: Case,
    state: Literal["resolved", "discarded"],
    outcome: str,
    action: str,
    reason: str,
) -> Case:
    ended = rows.change(
        connection, case, state=state, outcome=outcome, owner=hand.who, lease_until=None,
        closed=hand.now, updated=hand.now,
    )  # fmt: skip
    same = case.payload_hash
    hand.note(connection, ended, action, reason, before=same, after=same)
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
