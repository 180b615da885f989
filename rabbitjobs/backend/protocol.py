"""The result backend's values and protocol: where the outcome of a job is kept and read."""

from __future__ import annotations

from enum import Enum
from typing import Protocol

import msgspec

from rabbitjobs.message.envelope import Envelope


class Status(str, Enum):
    """Where a sent job stands. ``UNKNOWN``: nobody knows this id, or its record has expired."""

    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    IGNORED = "ignored"
    IN_REVIEW = "in-review"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    QUARANTINED = "quarantined"
    UNKNOWN = "unknown"

    @property
    def final(self) -> bool:
        """Whether nothing more happens to the job by itself (a case on the desk is not final)."""
        return self in _FINAL


_FINAL = frozenset(
    {
        Status.SUCCEEDED,
        Status.FAILED,
        Status.IGNORED,
        Status.CANCELLED,
        Status.EXPIRED,
        Status.QUARANTINED,
    }
)


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the ending of one attempt writes, in one transaction.

    ``decision`` is the encoded ``Decision`` (``None`` for a success): it stands in the inbox row,
    so that a redelivery after a crash repeats the same follow-ups instead of the job. ``result``
    is the encoded return value. ``keep`` is the seconds the result row lives after ``ended``.
    ``keep_result`` false writes no result row on success (``ignore_result``), and then no inbox
    row either, unless something of this attempt was ``noted`` before. ``lease`` is the token of the
    lease that ends with the attempt. Times are unix seconds.
    """

    job_id: str
    attempt: int
    job: str
    queue: str
    status: Status
    enqueued: float
    started: float
    ended: float
    keep: float
    keep_result: bool = True
    result: bytes | None = None
    decision: bytes | None = None
    error_type: str | None = None
    error: str | None = None
    traceback: str | None = None
    case: str | None = None
    release: str | None = None
    unique: str | None = None
    worker: str = ""
    noted: bool = False
    lease: str | None = None

    @property
    def leaves_no_trace(self) -> bool:
        """Whether nothing is written: a success that keeps no result, of which nothing is known."""
        return (
            not self.keep_result
            and self.status is Status.SUCCEEDED
            and self.attempt == 1
            and not self.noted
            and self.case is None
            and self.release is None
            and self.unique is None
            and self.lease is None
        )


def record_of(
    envelope: Envelope, status: Status, *, at: float, keep: float = 0.0, worker: str = ""
) -> Record:
    """What is noted of an attempt that has not ended yet; ``at`` is unix seconds."""
    return Record(
        job_id=envelope.id,
        attempt=envelope.attempt,
        job=envelope.job,
        queue=envelope.queue,
        status=status,
        enqueued=envelope.enqueued,
        started=at,
        ended=at,
        keep=keep,
        worker=worker,
    )


class Progress(msgspec.Struct, frozen=True):
    """How far a job said that it is: ``done`` of ``total`` (``None``: nobody knows), and a word."""

    done: int | float
    total: int | float | None = None
    note: str = ""

    @property
    def share(self) -> float | None:
        """What is done, from 0 to 1; ``None`` without a total."""
        return min(max(self.done / self.total, 0.0), 1.0) if self.total else None


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one job: the row that ``JobHandle`` reads."""

    job_id: str
    job: str
    queue: str
    status: Status
    attempt: int
    result: bytes | None = None
    error_type: str | None = None
    error: str | None = None
    traceback: str | None = None
    progress: bytes | None = None
    enqueued: float = 0.0
    started: float | None = None
    ended: float | None = None


class Recorder(Protocol):
    """What the ending needs of a backend. Raises ``StoreUnavailable`` when it cannot be durable."""

    async def recorded(self, job_id: str, attempt: int) -> bytes | None:
        """The decision recorded of this attempt (``b""``: a success), ``None`` if there is none."""
        ...

    async def record(self, record: Record) -> bool:
        """Write the outcome durably. ``False``: this attempt was recorded before."""
        ...

    def running(self, record: Record) -> None:
        """Note that an attempt runs; written behind with the next commit, and never waited for."""
        ...

    def progress(self, job_id: str, progress: bytes) -> None:
        """Note the progress of a running job; written behind, the newest wins."""
        ...


class Results(Protocol):
    """What a handle needs of a backend."""

    def get(self, job_id: str) -> Stored | None:
        """What is known of a job; ``None`` if nothing. Blocks for one read."""
        ...

    async def aget(self, job_id: str) -> Stored | None:
        """The a-twin of ``get``."""
        ...
