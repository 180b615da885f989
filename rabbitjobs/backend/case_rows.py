"""What the end of a released job does to the case that released it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from sqlalchemy import Connection, delete, select, update

from rabbitjobs.backend.protocol import Record, Status
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.store import audit
from rabbitjobs.store.schema import LIVE_STATES, RELEASED_STATES, cases, outbox
from rabbitjobs.store.text import storable


def follow(connection: Connection, namespace: str, records: Sequence[Record]) -> None:
    """Close the cases whose released job has reached a final state.

    A retry leaves its case released, and a job that is in review again is reopened by intake.
    """
    _cross_out(connection, namespace, records)
    for record in records:
        if record.case is not None and record.status.final:
            _close(connection, namespace, record, record.case)


def released_as(connection: Connection, namespace: str, envelope: Envelope) -> bool:
    """Whether the case that a message names stands released by a person, with this payload."""
    payload = hashlib.sha256(envelope.body).hexdigest()
    query = select(cases.c.id).where(
        cases.c.id == storable(envelope.case or ""),
        cases.c.namespace == namespace,
        cases.c.job_id == storable(envelope.id),
        cases.c.job == storable(envelope.job),
        # Neither before a person's yes, nor after he took it back, nor once the job has ended.
        cases.c.state.in_(RELEASED_STATES),
        cases.c.payload_hash == payload,
    )
    return connection.execute(query).first() is not None


def _cross_out(connection: Connection, namespace: str, records: Sequence[Record]) -> None:
    """Delete the promises of releases that have come: whoever published them may have died.

    Sent once more, when the inbox has forgotten the attempt, such a release would run again. While
    the job is retried its case lives, and the inbox keeps what it knows of it.
    """
    came = [
        record.release
        for record in records
        if record.release is not None and record.status is not Status.RETRYING
    ]
    if came:  # before the cases, as a relay does: the two must not lock each other out
        connection.execute(
            delete(outbox).where(outbox.c.namespace == namespace, outbox.c.release_id.in_(came))
        )


def _close(connection: Connection, namespace: str, record: Record, case_id: str) -> None:
    outcome = f"{record.status.value} after release"
    # A case that was released anew since then, or that a person has ended, is not this release's.
    waiting = (
        cases.c.id == case_id,
        cases.c.namespace == namespace,
        cases.c.state.in_(LIVE_STATES),
        cases.c.release_id == record.release,
    )
    closed = connection.execute(
        update(cases)
        .where(*waiting)
        .values(
            state="closed",
            outcome=outcome,
            closed=record.ended,
            updated=record.ended,
            lease_until=None,
            version=cases.c.version + 1,
        )
    )
    if closed.rowcount:
        version = connection.execute(select(cases.c.version).where(cases.c.id == case_id)).scalar()
        audit.append(
            connection,
            case_id,
            at=record.ended,
            who=f"worker {record.worker}".strip(),
            action="close",
            detail=f"{outcome}, attempt {record.attempt}",
            version=int(version or 0),
        )
