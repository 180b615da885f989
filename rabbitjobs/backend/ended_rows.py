"""What an ending writes into the store besides its inbox row, for workers and for the desk."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from rabbitjobs.backend import case_rows, result_rows, unique_rows
from rabbitjobs.backend.protocol import Record, Status
from rabbitjobs.store import cancellations, inbox, leases
from rabbitjobs.store.text import storable, storable_or_none

# What a cancellation is kept for after it was carried out: a copy of the message may still come,
# and the inbox knows the attempt for as long.
DROPPED_SECONDS = 7 * 86400.0


def entry_of(record: Record) -> inbox.Entry:
    """The inbox row of a recorded attempt."""
    return inbox.Entry(
        record.job_id, record.attempt, record.decision or b"", record.release, record.ended
    )


def write(connection: Connection, namespace: str, records: Sequence[Record]) -> None:
    """Write the result rows, free the keys of ended jobs, close the cases of releases."""
    result_rows.put_outcomes(connection, namespace, records)
    unique_rows.free_ended(connection, namespace, records)
    leases.free(connection, namespace, [(r.job_id, r.lease) for r in records if r.lease])
    case_rows.follow(connection, namespace, records)
    _settle_cancellations(connection, namespace, records)


def _settle_cancellations(
    connection: Connection, namespace: str, records: Sequence[Record]
) -> None:
    dropped = [record for record in records if record.status is Status.CANCELLED]
    if dropped:
        until = max(record.ended for record in dropped) + DROPPED_SECONDS
        job_ids = {record.job_id for record in dropped}
        cancellations.ended(connection, namespace, job_ids, until)


def with_storable_ids(record: Record) -> Record:
    """The record with ids that every database takes; nearly always the record itself."""
    if record.job_id.isascii() and "\0" not in record.job_id and record.unique is None:
        return record
    return msgspec.structs.replace(
        record, job_id=storable(record.job_id), unique=storable_or_none(record.unique)
    )
