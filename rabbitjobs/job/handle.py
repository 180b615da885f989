"""The handle of a sent job: its id, where it stands, what it returned."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar, cast

import msgspec

from rabbitjobs.backend.protocol import Progress, Results, Status, Stored
from rabbitjobs.errors import CancelRefused, JobFailed, NoResult, ResultIgnored, ResultTimeout
from rabbitjobs.job.blocking import refuse_in_loop
from rabbitjobs.message.arguments import decode_result

R = TypeVar("R")


class Cancels(Protocol):
    """What a handle needs to cancel its job; the app injects it."""

    def cancel(self, job_ids: Sequence[str], *, who: str | None = None, why: str = "") -> None:
        """Have these jobs end; blocks until that is stored."""
        ...


def _nowhere() -> None:
    """There is no store to read from."""


class JobHandle(Generic[R]):
    """Refers to one sent job; can be made anew from the id with ``app.handle``.

    ``results`` gives the store's backend when something is read: who only sends opens no store.
    """

    def __init__(
        self,
        job_id: str,
        results: Callable[[], Results | None] = _nowhere,
        *,
        returns: Any = Any,
        sent: bool = False,
        job: str | None = None,
        queue: str | None = None,
        ignored: bool = False,
        canceller: Callable[[], Cancels | None] = lambda: None,
    ) -> None:
        self.id = job_id
        self.job = job
        self.queue = queue
        self._open = results
        self._returns = returns
        self._sent = sent
        self._ignored = ignored
        self._canceller = canceller

    def not_sent(self) -> None:
        """Say no longer that it is queued: the transaction that promised the job rolled back."""
        self._sent = False

    def status(self) -> Status:
        """Where the job stands now.

        ``UNKNOWN`` for an id of which nothing is recorded; a handle that ``send`` returned says
        ``QUEUED`` instead, because its message was confirmed (with
        ``tx=``: promised, until the transaction rolls back).
        """
        return self._status(self._read())

    async def astatus(self) -> Status:
        """The a-twin of ``status``."""
        return self._status(await self._aread())

    def result(self, timeout: float | None = None) -> R:
        """Wait for the job's end and return its value.

        ``timeout`` is in seconds; ``None`` waits for ever. Raises ``ResultTimeout``; ``JobFailed``
        when it ended without success; ``NoResult`` when there is nowhere to read it, and at once
        as ``ResultIgnored`` for a job with ``ignore_result=True``. A job on the review desk has
        not ended: the wait goes on, for a person may still resolve it.
        """
        refuse_in_loop("result", "aresult")
        self._check_readable()
        deadline = None if timeout is None else time.monotonic() + timeout
        stored: Stored | None = None
        for pause in _pauses():
            stored = self._read()
            if stored is not None and stored.status.final:
                return self._value(stored)
            left = pause if deadline is None else min(pause, deadline - time.monotonic())
            if left <= 0:
                break
            time.sleep(left)
        raise self._too_late(timeout, stored)

    async def aresult(self, timeout: float | None = None) -> R:
        """The a-twin of ``result``."""
        self._check_readable()
        deadline = None if timeout is None else time.monotonic() + timeout
        stored: Stored | None = None
        for pause in _pauses():
            stored = await self._aread()
            if stored is not None and stored.status.final:
                return self._value(stored)
            left = pause if deadline is None else min(pause, deadline - time.monotonic())
            if left <= 0:
                break
            await asyncio.sleep(left)
        raise self._too_late(timeout, stored)

    def cancel(self, why: str = "", *, who: str | None = None) -> None:
        """Have the job end, wherever it is; see ``RabbitJobs.cancel`` for what is promised.

        Returns once that is stored. Raises ``StoreError`` where there is no store, and its own
        errors: then nothing is cancelled.
        """
        refuse_in_loop("cancel", "acancel")
        self._cancels().cancel((self.id,), who=who, why=why)

    async def acancel(self, why: str = "", *, who: str | None = None) -> None:
        """The a-twin of ``cancel``."""
        canceller = self._cancels()
        await asyncio.to_thread(lambda: canceller.cancel((self.id,), who=who, why=why))

    def _cancels(self) -> Cancels:
        canceller = self._canceller()
        if canceller is None:
            raise CancelRefused(
                "expected the handle of a sent job, got one whose send was refused",
                job=self.job,
                job_id=self.id,
            )
        return canceller

    def info(self) -> Stored | None:
        """All that is recorded of the job: times, attempt, error, progress; ``None`` if nothing."""
        return self._read()

    async def ainfo(self) -> Stored | None:
        """The a-twin of ``info``."""
        return await self._aread()

    def progress(self) -> Progress | None:
        """What the job said last with ``ctx.progress``; ``None`` if it has said nothing.

        For a job that runs: progress is written with the next commit, and what was not by the
        job's end is left out. What was stays as long as the result, through retries too. A job
        with ``ignore_result=True`` keeps none: its progress is seen in events only.
        """
        return _progress(self._read())

    async def aprogress(self) -> Progress | None:
        """The a-twin of ``progress``."""
        return _progress(await self._aread())

    def _check_readable(self) -> None:
        if self._ignored:
            raise ResultIgnored(
                "expected a job that keeps its result, got one with ignore_result=True; "
                "ask status(), or register it without ignore_result",
                job=self.job,
                queue=self.queue,
                job_id=self.id,
            )
        if self._open() is None:
            raise NoResult(
                "expected a store to read the result from, got none; set store.url",
                job=self.job,
                queue=self.queue,
                job_id=self.id,
            )

    def _read(self) -> Stored | None:
        results = self._open()
        return results.get(self.id) if results is not None else None

    async def _aread(self) -> Stored | None:
        results = self._open()
        return await results.aget(self.id) if results is not None else None

    def _status(self, stored: Stored | None) -> Status:
        if stored is not None:
            return stored.status
        return Status.QUEUED if self._sent else Status.UNKNOWN

    def _value(self, stored: Stored) -> R:
        if stored.status is not Status.SUCCEEDED:
            raise JobFailed(
                f"expected success, the job ended as {stored.status.value}: "
                f"{stored.error_type}: {stored.error}",
                state=stored.status.value,
                error_type=stored.error_type,
                error=stored.error,
                traceback=stored.traceback,
                queue=stored.queue,
                job=stored.job,
                job_id=self.id,
            )
        if stored.result is None:
            raise NoResult("the job succeeded and keeps no result", job=stored.job, job_id=self.id)
        try:
            return cast(R, decode_result(stored.result, self._returns))
        except (msgspec.MsgspecError, TypeError, ValueError) as error:
            raise NoResult(
                f"expected a result of the type that the job names; {error}; "
                "info().result holds it as JSON",
                job=stored.job,
                queue=stored.queue,
                job_id=self.id,
            ) from error

    def _too_late(self, timeout: float | None, stored: Stored | None) -> ResultTimeout:
        text = f"expected the job to end within {timeout} s, it is {self._status(stored).value}"
        if stored is not None and stored.status is Status.IN_REVIEW:
            text += (
                f" ({stored.error_type}: {stored.error}); a person decides: rabbitjobs review list"
            )
        return ResultTimeout(text, job=self.job, queue=self.queue, job_id=self.id)

    def __repr__(self) -> str:
        return f"<JobHandle {self.id}>"


def _progress(stored: Stored | None) -> Progress | None:
    if stored is None or stored.progress is None:
        return None
    try:
        return msgspec.json.decode(stored.progress, type=Progress)
    except msgspec.MsgspecError:  # numbers that JSON has no word for
        return None


def _pauses() -> Iterator[float]:
    # A small job ends within two milliseconds; one that does not is not worth a busy loop.
    pause = 0.0003
    while True:
        yield pause
        pause = min(pause * 1.4, 0.25)
