"""What a running job can know and say about itself."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextvars import Context as ContextVariables
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

import msgspec
import structlog

from rabbitjobs.clock import derived_id, now, uuid7
from rabbitjobs.errors import SendError, WorkerError
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.message.markers import Injected

if TYPE_CHECKING:
    from datetime import timedelta

    from rabbitjobs.consumer.follow_ups import FollowUp, FollowUps
    from rabbitjobs.job.call import Call
    from rabbitjobs.job.definition import Job
    from rabbitjobs.job.handle import JobHandle

P = ParamSpec("P")
R = TypeVar("R")
_current: ContextVar[Context | None] = ContextVar("rabbitjobs_context", default=None)
_LOOK_SECONDS = 0.1
# structlog's own variables, which its ``merge_contextvars`` puts on every line. Bound once here and
# then set directly: ``bind_contextvars`` looks each up by its name, which costs twice as much.
_tokens = structlog.contextvars.bind_contextvars(job="", job_id="", attempt=0)
_logged_job, _logged_id, _logged_attempt = (_tokens[n].var for n in ("job", "job_id", "attempt"))
structlog.contextvars.reset_contextvars(**_tokens)


def _never() -> bool:
    return False


def _always() -> bool:
    return True


def _nothing() -> None:
    return


class Signal:
    """Something that can happen once while a job runs; true when it has. Safe in any thread.

    ``look`` says whether it has happened, where nobody can call ``set``.
    """

    __slots__ = ("_event", "_hooks", "_look")

    def __init__(self, look: Callable[[], bool] | None = None) -> None:
        self._event = threading.Event()
        self._hooks: list[Callable[[], None]] = []
        self._look = look

    def __bool__(self) -> bool:
        if self._look is not None and not self._event.is_set() and self._look():
            self._event.set()
        return self._event.is_set()

    def set(self) -> None:
        """It has happened."""
        self._event.set()
        hooks, self._hooks = self._hooks, []
        for hook in hooks:
            hook()

    def wait(self, timeout: float | None = None) -> bool:
        """Block this thread until it has happened, or for ``timeout`` seconds; whether it has."""
        until = None if timeout is None else time.monotonic() + timeout
        while not self:
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                return False
            pause = _LOOK_SECONDS if self._look is not None else left
            self._event.wait(pause if left is None or pause is None else min(pause, left))
        return True

    def then(self, hook: Callable[[], None]) -> None:
        """Call ``hook`` when it happens, in the thread that says so."""
        self._hooks.append(hook)


class Context(Injected):
    """One attempt of one job; a parameter annotated with it is filled in by the worker.

    ``job_id``, ``job``, ``queue`` and ``attempt`` say which; ``attempt`` counts from 1.
    ``enqueued`` and ``expires`` are unix seconds.
    """

    # Of the class, so that a job without limits does not pay for it.
    _limit: float | None = None
    # Of the class, because most jobs are never cancelled: setting them for each would cost.
    noticed: bool = False
    _cancelled: Callable[[], bool] = staticmethod(_never)
    _told: Callable[[], None] = staticmethod(_nothing)

    def __init__(
        self,
        envelope: Envelope,
        note_progress: Callable[[str, bytes], None],
        lease_lost: Signal | None = None,
    ) -> None:
        self.job_id = envelope.id
        self.job = envelope.job
        self.queue = envelope.queue
        self.attempt = envelope.attempt
        self.enqueued = envelope.enqueued
        self.expires = envelope.expires
        self.tag = envelope.tag
        self._note_progress = note_progress
        self._lease_lost = lease_lost

    @property
    def lease_lost(self) -> Signal:
        """True once the lease of the job's concurrency key could not be renewed.

        Other jobs of the key may run beside it from then on: stop what must not happen twice. The
        job's outcome is recorded all the same. Never true for a job without a key.
        """
        if self._lease_lost is None:
            self._lease_lost = Signal()
        return self._lease_lost

    def if_lease_lost(self, hook: Callable[[], None]) -> None:
        """Call ``hook`` when the lease is lost; never, where there is none."""
        if self._lease_lost is not None:
            self._lease_lost.then(hook)

    @property
    def cancelled(self) -> bool:
        """Whether somebody has cancelled this job: look now and then, clean up, and return.

        Cheap, and true for good once it is. What the job returns after it has seen this is put
        aside, and it ends as cancelled. One that takes no notice is ended by force after the grace
        of the cancellation, where its pool can do that; see the guide to cancelling.
        """
        found = self._cancelled()
        if found and not self.noticed:
            self.noticed = True
        return found

    @property
    def is_cancelled(self) -> bool:
        """As ``cancelled``, for those who only look: the job has not seen it by that."""
        return self._cancelled()

    def cancel(self) -> None:
        """Let the job know that it was cancelled: for pools, and for tests of jobs."""
        self._cancelled = _always
        self._told()

    def elsewhere(self, told: Callable[[], None]) -> None:
        """The job runs in another process: ``told`` is called there and then when it is cancelled.

        For pools, in the worker; ``ask`` is the other side.
        """
        self._told = told

    def ask(self, cancelled: Callable[[], bool]) -> None:
        """Have ``cancelled`` say whether the job was cancelled: for pools, in the other process."""
        self._cancelled = cancelled

    @classmethod
    def detached(cls) -> Context:
        """A context for a job that is called outside of any worker; progress goes nowhere."""
        envelope = Envelope(id=uuid7(), job="", queue="", body=b"", enqueued=now())
        return cls(envelope, lambda _job_id, _progress: None)

    @property
    def deadline(self) -> float | None:
        """When the attempt is at its end, in unix seconds; ``None`` if nothing limits it.

        The earliest of its soft limit, its hard limit and the moment from which on it is no longer
        worth running (``expires``). Nothing ends it at that last one: it is for the job to heed.
        """
        known = [at for at in (self._limit, self.expires) if at is not None]
        return min(known, default=None)

    def begins(self, *limits: timedelta | None) -> None:
        """The job begins now, with these limits: for pools, before its function is called."""
        known = [limit.total_seconds() for limit in limits if limit is not None]
        self._limit = now() + min(known) if known else None

    @property
    def log(self) -> Any:
        """A structlog logger that carries the job's id and attempt."""
        return structlog.get_logger("rabbitjobs.job").bind(
            job=self.job, job_id=self.job_id, attempt=self.attempt
        )

    def progress(self, done: float, total: float | None = None, note: str = "") -> None:
        """Say how far the job is; readers see it soon. Costs no wait; the newest wins."""
        data = msgspec.json.encode({"done": done, "total": total, "note": note})
        self._note_progress(self.job_id, data)

    # --- follow-ups -----------------------------------------------------------------------------

    def send(self, job: Job[P, R], *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]:
        """Send a follow-up under the id of ``call``; see ``Job.send`` for what it raises.

        After a ``SendError``, the same send again has the same id. A rerun of this attempt (after
        a crash) sends it again, and where a store is set it has one outcome; one with
        ``ignore_result=True`` may run twice.
        """
        sent, one = self._follow_up(job, *args, **kwargs)
        try:
            return sent.send(*args, **kwargs)
        except SendError:
            self._not_sent(one)
            raise

    async def asend(self, job: Job[P, R], *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]:
        """The a-twin of ``send``."""
        sent, one = self._follow_up(job, *args, **kwargs)
        try:
            return await sent.asend(*args, **kwargs)
        except (SendError, asyncio.CancelledError):  # a timeout of the job's own, say
            self._not_sent(one)
            raise

    def call(self, job: Job[P, R], *args: P.args, **kwargs: P.kwargs) -> Call:
        """A follow-up as a value, for ``app.send_many``.

        Its id follows from this job's id, the attempt, and the follow-up: its job, its arguments,
        and whether it is the first, second ... of these. An id given by ``job.options(id=...)``
        stays. A retry is another attempt: it sends follow-ups of its own.
        """
        return self._follow_up(job, *args, **kwargs)[0].call(*args, **kwargs)

    def id_for(self, role: str) -> str:
        """The id of a follow-up that you name yourself: the same in every run of this attempt.

        For follow-ups whose arguments differ from run to run, with ``job.options(id=...)``.
        """
        return derived_id(self.job_id, self.attempt, f"role:{role}")

    def _follow_up(
        self, job: Job[P, R], *args: P.args, **kwargs: P.kwargs
    ) -> tuple[Job[P, R], FollowUp | None]:
        call = job.call(*args, **kwargs)
        if call.options.id is not None:
            return job, None
        one = self._follow_ups.take(call)
        return job.options(id=one.id), one

    def _not_sent(self, one: FollowUp | None) -> None:
        if one is not None:
            self._follow_ups.put_back(one)

    @property
    def _follow_ups(self) -> FollowUps:
        known = self.__dict__.get("_sent")
        if known is None:
            from rabbitjobs.consumer.follow_ups import FollowUps

            # One step: the job may send from several threads.
            known = self.__dict__.setdefault("_sent", FollowUps(self.job_id, self.attempt))
        return cast("FollowUps", known)


def current() -> Context:
    """The context of the job that runs here; raises ``WorkerError`` outside of one."""
    context = _current.get()
    if context is None:
        raise WorkerError("expected to be inside a running job, got none")
    return context


def context_in(variables: ContextVariables) -> Context | None:
    """The job that runs with these context variables, if one does."""
    return variables.get(_current)


def enter(context: Context) -> None:
    """Make ``context`` the current one of this task, and of every line that it logs."""
    _current.set(context)
    _logged_job.set(context.job)
    _logged_id.set(context.job_id)
    _logged_attempt.set(context.attempt)
