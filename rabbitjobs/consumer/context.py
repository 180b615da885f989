"""What a running job can know and say about itself."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context as ContextVariables
from contextvars import ContextVar
from typing import Any

import msgspec
import structlog

from rabbitjobs.clock import now, uuid7
from rabbitjobs.errors import WorkerError
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.message.markers import Injected

_current: ContextVar[Context | None] = ContextVar("rabbitjobs_context", default=None)
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


class Context(Injected):
    """One attempt of one job; a parameter annotated with it is filled in by the worker.

    ``job_id``, ``job``, ``queue`` and ``attempt`` say which; ``attempt`` counts from 1.
    """

    # Of the class, because most jobs are never cancelled: setting them for each would cost.
    noticed: bool = False
    _cancelled: Callable[[], bool] = staticmethod(_never)
    _told: Callable[[], None] = staticmethod(_nothing)

    def __init__(self, envelope: Envelope, note_progress: Callable[[str, bytes], None]) -> None:
        self.job_id = envelope.id
        self.job = envelope.job
        self.queue = envelope.queue
        self.attempt = envelope.attempt
        self.enqueued = envelope.enqueued
        self.expires = envelope.expires
        self.tag = envelope.tag
        self._note_progress = note_progress

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


def context_in(variables: ContextVariables) -> Context | None:
    """The job that runs with these context variables, if one does."""
    return variables.get(_current)


def enter(context: Context) -> None:
    """Make ``context`` the current one of this task, and of every line that it logs."""
    _current.set(context)
    _logged_job.set(context.job)
    _logged_id.set(context.job_id)
    _logged_attempt.set(context.attempt)
