"""Results and the inbox in the store: the outcome of an attempt is one transaction there."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from sqlalchemy import Connection

from rabbitjobs import clock
from rabbitjobs.backend import case_rows, ended_rows, result_rows, sweep, unique_rows
from rabbitjobs.backend.ended_rows import entry_of, with_storable_ids
from rabbitjobs.backend.protocol import Record, Status, Stored
from rabbitjobs.backend.sweep import Swept
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.store import inbox
from rabbitjobs.store.engine import Store
from rabbitjobs.store.text import storable


class SqlBackend:
    """Implements ``Recorder`` and ``Results`` on a ``Store``.

    Safe to share between threads and event loops. ``record`` returns after the commit; many
    records share one.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def store(self) -> Store:
        """The store that this backend writes to."""
        return self._store

    # --- Recorder --------------------------------------------------------------------------

    async def recorded(self, job_id: str, attempt: int) -> bytes | None:
        """The decision recorded for this attempt (``b""`` for a success), ``None`` if none."""
        return await self._store.afetch(self._fetch_decisions, (storable(job_id), attempt))

    async def record(self, record: Record) -> bool:
        """Write the outcome durably. ``False``: this attempt was recorded before, by another run.

        The same record may be written again after ``StoreUnavailable``, and is ``True`` then too:
        a commit whose answer was lost must not look like somebody else's.

        One transaction holds the inbox row, the result row, the end of the case that released the
        job, and the release of its unique key. A success with ``keep_result`` false writes nothing
        unless something of the job is already known (an earlier attempt, a case, a unique key).
        """
        record = with_storable_ids(record)
        self._store.forget(("running", record.job_id))
        self._store.forget(("progress", record.job_id))
        if record.leaves_no_trace:
            return True
        return await self._store.awrite(self._write_outcomes, record)

    async def approved(self, envelope: Envelope) -> bool:
        """Whether a person at the desk has let this message run: this job, with these arguments."""
        namespace = self._store.namespace
        return await self._store.aread(lambda c: case_rows.released_as(c, namespace, envelope))

    def running(self, record: Record) -> None:
        """Note that an attempt runs; never written if its outcome is there within 0.1 s."""
        if record.keep_result:
            record = with_storable_ids(record)
            self._store.write_behind(self._write_running, ("running", record.job_id), record)

    def progress(self, job_id: str, progress: bytes) -> None:
        """Note the progress of a running job; written behind, the newest wins."""
        job_id = storable(job_id)
        self._store.write_behind(self._write_progress, ("progress", job_id), (job_id, progress))

    # --- Results ---------------------------------------------------------------------------

    def get(self, job_id: str) -> Stored | None:
        """What is known of a job; ``None`` if nothing, or if its row has expired."""
        return result_rows.find_one(self._store, storable(job_id), clock.now())

    async def aget(self, job_id: str) -> Stored | None:
        """The a-twin of ``get``; many at once share one read."""
        return await self._store.afetch(self._find, storable(job_id))

    # --- publishers ------------------------------------------------------------------------

    def mark_queued(
        self, job_id: str, *, job: str, queue: str, enqueued: float, due: float | None = None
    ) -> None:
        """Note that a job was sent, for publishers who want to read QUEUED; written behind.

        Times are unix seconds. Never replaces what is already known of the job.
        """
        record = Record(
            job_id=storable(job_id),
            attempt=0,
            job=job,
            queue=queue,
            status=Status.QUEUED,
            enqueued=enqueued,
            started=due or enqueued,
            ended=0.0,
            keep=0.0,
        )
        self._store.write_behind(self._write_queued, ("queued", record.job_id), record)

    def claim_unique(self, key: str, job_id: str, until: float) -> str | None:
        """Claim a unique key for a job until ``until`` (unix seconds) at most.

        Returns ``None`` if the job has the key now, else the id of the job that holds it. The key
        is free again when that job reaches a final state.
        """
        claim = partial(
            unique_rows.claim,
            namespace=self._store.namespace,
            key=storable(key),
            job_id=storable(job_id),
            until=until,
            now=clock.now(),
        )
        return self._store.run(claim)

    def keep_unique(self, key: str, job_id: str, until: float) -> None:
        """Hold a claimed key longer, until ``until`` (unix seconds) at most.

        Does nothing if the job holds it no more: it has ended meanwhile.
        """
        keep = partial(
            unique_rows.keep,
            namespace=self._store.namespace,
            key=storable(key),
            job_id=storable(job_id),
            until=until,
        )
        self._store.run(keep)

    def free_unique(self, key: str, job_id: str) -> None:
        """Give a key back at once, when the job that claimed it could not be sent."""
        free = partial(
            unique_rows.free,
            namespace=self._store.namespace,
            holders=[(storable(key), storable(job_id))],
        )
        self._store.run(free)

    # --- upkeep ----------------------------------------------------------------------------

    def clean(self, now: float | None = None, *, batch: int = 1000) -> Swept:
        """Delete what has expired, in transactions of at most ``batch`` rows.

        Result rows go at their expiry; inbox rows 7 days after their end, but never while a case
        of their job lives: a release must find them a month later.
        """
        return sweep.sweep(self._store, clock.now() if now is None else now, batch)

    # --- bulk work, called by the store's threads ------------------------------------------

    def _write_outcomes(self, connection: Connection, records: Sequence[Record]) -> list[bool]:
        namespace = self._store.namespace
        entries = [entry_of(record) for record in records]
        fresh = inbox.enter(connection, namespace, entries)
        written: list[Record] = []
        known: list[inbox.Entry] = []
        answers: list[bool] = []
        for record, entry in zip(records, entries, strict=True):
            key = (record.job_id, record.attempt)
            answers.append(key in fresh)
            if key in fresh:
                written.append(record)
                fresh.remove(key)
            else:
                known.append(entry)
        if known:
            ours = inbox.entered_before(connection, namespace, known)
            answers = [
                new or (entry.job_id, entry.attempt) in ours
                for new, entry in zip(answers, entries, strict=True)
            ]
        ended_rows.write(connection, namespace, written)
        return answers

    def _write_running(self, connection: Connection, records: Sequence[Record]) -> list[None]:
        result_rows.put_running(connection, self._store.namespace, records)
        return [None] * len(records)

    def _write_queued(self, connection: Connection, records: Sequence[Record]) -> list[None]:
        result_rows.put_queued(connection, self._store.namespace, records)
        return [None] * len(records)

    def _write_progress(
        self, connection: Connection, items: Sequence[tuple[str, bytes]]
    ) -> list[None]:
        result_rows.put_progress(connection, self._store.namespace, items)
        return [None] * len(items)

    def _fetch_decisions(
        self, connection: Connection, keys: Sequence[inbox.Key]
    ) -> list[bytes | None]:
        found = inbox.decisions(connection, self._store.namespace, keys)
        return [found.get(key) for key in keys]

    def _find(self, connection: Connection, job_ids: Sequence[str]) -> list[Stored | None]:
        found = result_rows.find(connection, self._store.namespace, job_ids, clock.now())
        return [found.get(job_id) for job_id in job_ids]
