"""A release: the one transaction that promises a case's message anew (no rule stands here)."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from sqlalchemy import Connection, func, select

from rabbitjobs import clock
from rabbitjobs.backend import result_rows
from rabbitjobs.backend.protocol import Record, Status, record_of
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.review import store as rows
from rabbitjobs.review.case import Case
from rabbitjobs.review.hand import Hand
from rabbitjobs.store import inbox, outbox
from rabbitjobs.store.outbox import OutboxRow
from rabbitjobs.store.schema import cases, jobs
from rabbitjobs.store.text import storable

# How long relays leave a row to the desk that is publishing it: its deadline and some.
LEASE_SECONDS = 30.0


def promise(
    connection: Connection,
    hand: Hand,
    case: Case,
    envelope: Envelope,
    *,
    detail: str,
    action: str = "retry",
    sign: Callable[[Envelope], Envelope] = lambda envelope: envelope,
) -> OutboxRow:
    """Set the case releasing, allocate the next attempt and put the message into the outbox.

    The release id and the attempt are fixed here: whoever publishes it, and however often, it is
    the same attempt, which the consumers' inbox takes once.
    """
    namespace = hand.namespace
    attempt = next_attempt(connection, namespace, storable(envelope.id))
    release_id = clock.uuid7()
    changed_for_it = msgspec.structs.replace(
        envelope,
        attempt=attempt,
        release=release_id,
        case=case.id,
        due=None,
        expires=None,
        unknown=0,
    )
    envelope = sign(changed_for_it)
    row = outbox.put(
        connection,
        namespace,
        envelope,
        release_id=release_id,
        case_id=case.id,
        leased_for=LEASE_SECONDS,
    )
    changed = rows.change(
        connection,
        case,
        state="releasing",
        release_id=release_id,
        release_attempt=attempt,
        owner=hand.who,
        lease_until=None,
        snoozed_until=None,
        updated=hand.now,
    )
    hand.note(
        connection, changed, action, f"{detail}, attempt {attempt}" if detail else
        f"attempt {attempt}", before=case.payload_hash, after=changed.payload_hash,
    )  # fmt: skip
    queued = _record(envelope, Status.QUEUED, hand.now)
    result_rows.put_outcomes(connection, namespace, [queued])
    return row


def take_back(connection: Connection, namespace: str, row: OutboxRow, why: str, now: float) -> bool:
    """Open the case again when its message was certainly refused; ``False`` if a relay has it."""
    if row.case_id is None or not outbox.withdraw(connection, row):
        return False
    case = rows.find(connection, namespace, row.case_id)
    if case.state != "releasing" or case.release_id != row.release_id:
        return False
    opened = rows.change(connection, case, state="open", updated=now)
    rows.note(
        connection,
        case.id,
        at=now,
        who="desk",
        action="not released",
        detail=why,
        version=opened.version,
    )
    result_rows.put_in_review(connection, namespace, _record(row.envelope, Status.IN_REVIEW, now))
    return True


def next_attempt(connection: Connection, namespace: str, job_id: str) -> int:
    """The first attempt that nobody has made, promised or can have in flight for a job."""
    recorded = inbox.last_attempt(connection, namespace, job_id)
    at_desk = connection.execute(
        select(func.max(cases.c.attempt), func.max(cases.c.release_attempt)).where(
            cases.c.namespace == namespace, cases.c.job_id == job_id
        )
    ).one()
    shown = connection.execute(
        select(jobs.c.attempt, jobs.c.status).where(
            jobs.c.namespace == namespace, jobs.c.job_id == job_id
        )
    ).first()
    # A job that is retrying has its next attempt in a delay queue already.
    known = 0 if shown is None else shown.attempt + (shown.status == Status.RETRYING.value)
    return max(recorded, known, *(value or 0 for value in at_desk)) + 1


def _record(envelope: Envelope, status: Status, now: float) -> Record:
    record = record_of(envelope, status, at=now)
    return msgspec.structs.replace(record, job_id=storable(envelope.id))
