"""A recorder that is made when there is something to record."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future

from rabbitjobs.backend.protocol import Record, Recorder

_log = logging.getLogger("rabbitjobs.backend")


class LateRecorder:
    """A ``Recorder`` that ``make`` makes, on a thread of its own, when it is first needed.

    For one that takes long to import. Endings wait for it; notes are handed over in their order
    once it is there. When ``make`` raises, so does what waits; the next use tries again.
    """

    def __init__(self, make: Callable[[], Recorder]) -> None:
        self._make = make
        self._made: Recorder | None = None
        self._making: Future[Recorder] | None = None
        self._notes: list[Callable[[Recorder], None]] = []
        self._lock = threading.Lock()

    def begin(self) -> Future[Recorder]:
        """Begin to make it, if that has not begun; from any thread."""
        with self._lock:
            if self._making is None:
                self._making = Future()
                # It has many waiters: one that is cancelled must not cancel it for the others.
                self._making.set_running_or_notify_cancel()
                threading.Thread(
                    target=self._work, args=(self._making,), name="rabbitjobs-store-open"
                ).start()
            return self._making

    async def recorded(self, job_id: str, attempt: int) -> bytes | None:
        """See ``Recorder``."""
        recorder = self._made
        if recorder is None:
            recorder = await asyncio.wrap_future(self.begin())
        return await recorder.recorded(job_id, attempt)

    async def record(self, record: Record) -> bool:
        """See ``Recorder``."""
        if self._made is None and record.leaves_no_trace and not self._notes:
            return True
        recorder = self._made
        if recorder is None:
            recorder = await asyncio.wrap_future(self.begin())
        return await recorder.record(record)

    def running(self, record: Record) -> None:
        """See ``Recorder``."""
        if self._made is not None:
            self._made.running(record)
        elif record.keep_result:
            self._note(lambda recorder: recorder.running(record))

    def progress(self, job_id: str, progress: bytes) -> None:
        """See ``Recorder``."""
        if self._made is not None:
            self._made.progress(job_id, progress)
        else:
            self._note(lambda recorder: recorder.progress(job_id, progress))

    def _note(self, note: Callable[[Recorder], None]) -> None:
        with self._lock:
            made = self._made
            if made is None:
                self._notes.append(note)
        if made is not None:
            note(made)
        else:
            self.begin()

    def _work(self, making: Future[Recorder]) -> None:
        try:
            recorder = self._make()
        except BaseException as error:  # the edge of a thread: who waits is told
            with self._lock:
                self._making = None
            making.set_exception(error)
            return
        with self._lock:
            notes, self._notes = self._notes, []
            for note in notes:
                try:
                    note(recorder)
                except Exception:  # endings wait for this, and a note is not worth one
                    _log.exception("what a job noted could not be handed to the store")
            self._made = recorder
        making.set_result(recorder)
