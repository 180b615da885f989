"""What an ending writes into the store besides its inbox row, for workers and for the desk."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from rabbitjobs.backend import case_rows, result_rows, unique_rows
from rabbitjobs.backend.protocol import Record
from rabbitjobs.store import inbox, leases
from rabbitjobs.store.text import storable, storable_or_none


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


def with_storable_ids(record: Record) -> Record:
    """The record with ids that every database takes; nearly always the record itself."""
    if record.job_id.isascii() and "\0" not in record.job_id and record.unique is None:
        return record
    return msgspec.structs.replace(
        record, job_id=storable(record.job_id), unique=storable_or_none(record.unique)
    )
