"""What a running job can know and say about itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import msgspec
import structlog

from rabbitjobs.clock import now, uuid7
from rabbitjobs.errors import WorkerError
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.message.markers import Injected

_current: ContextVar[Context | None] = ContextVar("rabbitjobs_context", default=None)
_LOOK_SECONDS = 0.1
# structlog's own variables, which its ``merge_contextvars`` puts on every line. Bound once here and
# then set directly: ``bind_contextvars`` looks each up by its name, which costs twice as much.
_tokens = structlog.contextvars.bind_contextvars(job="", job_id="", attempt=0)
_logged_job, _logged_id, _logged_attempt = (_tokens[n].var for n in ("job", "job_id", "attempt"))
structlog.contextvars.reset_contextvars(**_tokens)


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
    """

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

    @classmethod
    def detached(cls) -> Context:
        """A context for a job that is called outside of any worker; progress goes nowhere."""
        envelope = Envelope(id=uuid7(), job="", queue="", body=b"", enqueued=now())
        return cls(envelope, lambda _job_id, _progress: None)

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


def current() -> Context:
    """The context of the job that runs here; raises ``WorkerError`` outside of one."""
    context = _current.get()
    if context is None:
        raise WorkerError("expected to be inside a running job, got none")
    return context


def enter(context: Context) -> None:
    """Make ``context`` the current one of this task, and of every line that it logs."""
    _current.set(context)
    _logged_job.set(context.job)
    _logged_id.set(context.job_id)
    _logged_attempt.set(context.attempt)
