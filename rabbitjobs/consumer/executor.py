"""Running one attempt: whatever happens becomes an outcome. Never raises, but for its own stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import structlog

from rabbitjobs.clock import now
from rabbitjobs.consumer.context import Context, enter
from rabbitjobs.consumer.failure import failure_of, plain_failure
from rabbitjobs.consumer.threads import Threads
from rabbitjobs.ending.settlement import Outcome
from rabbitjobs.job.definition import Definition
from rabbitjobs.job.registry import Registry
from rabbitjobs.message.arguments import encode_result
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.policy.decision import Failure


class Executor:
    """Runs jobs of one registry: ``async def`` on the loop, others on ``threads`` threads."""

    def __init__(
        self,
        registry: Registry,
        *,
        threads: int,
        note_progress: Callable[[str, bytes], None] = lambda _job_id, _progress: None,
    ) -> None:
        self._registry = registry
        self._threads = Threads(threads, name="rabbitjobs-job")
        self._note_progress = note_progress
        self._stopping = False

    async def execute(self, envelope: Envelope) -> Outcome:
        """Run one attempt. Raises ``CancelledError`` only after ``stop``: nothing ended."""
        started = now()
        result: bytes | None = None
        failure: Failure | None = None
        definition = self._registry.get(envelope.job)
        if envelope.expires is not None and envelope.expires <= started:
            failure = plain_failure(
                "expired", f"it was worth running until {_moment(envelope.expires)}"
            )
        elif definition is None or definition.function is None:
            failure = plain_failure("unknown-job", f"no job {envelope.job!r} is registered here")
        else:
            result, failure = await self._run(definition, envelope)
        return Outcome(
            envelope=envelope, started=started, ended=now(), result=result, failure=failure
        )

    def stop(self) -> None:
        """From now on a cancelled task is ours: its job was not finished, and not acked."""
        self._stopping = True
        self._threads.stop()

    async def _run(
        self, definition: Definition, envelope: Envelope
    ) -> tuple[bytes | None, Failure | None]:
        assert definition.arguments is not None and definition.function is not None
        try:
            args, kwargs = definition.arguments.decode(envelope.body)
        except Exception as error:  # converting arguments runs user code
            return None, failure_of(error, "arguments")
        context = Context(envelope, self._note_progress)
        enter(context)
        structlog.contextvars.bind_contextvars(
            job=envelope.job, job_id=envelope.id, attempt=envelope.attempt
        )
        args, kwargs = definition.arguments.inject(args, kwargs, lambda _: context)
        try:
            value, raised = await self._call(definition, args, kwargs)
            if raised is not None:
                return None, failure_of(raised)
            result = None if definition.ignore_result else encode_result(value)
            failure = None
        except asyncio.CancelledError as error:
            if self._stopping:
                raise
            result, failure = None, failure_of(error)
        except BaseException as error:  # user code: SystemExit and the like end the job, not us
            result, failure = None, failure_of(error)
        if definition.is_async:  # others cannot reach the task
            await self._shake_off_cancel()
        return result, failure

    async def _shake_off_cancel(self) -> None:
        """A job that cancelled its own task must not cancel the ending that follows it."""
        task = asyncio.current_task()
        if task is None or not task.cancelling() or self._stopping:
            return
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            if self._stopping:
                raise
        while task.uncancel():
            pass

    async def _call(
        self, definition: Definition, args: list[Any], kwargs: dict[str, Any]
    ) -> tuple[Any, BaseException | None]:
        function = definition.function
        assert function is not None
        if definition.is_async:
            return await function(*args, **kwargs), None
        return await self._threads.run(function, args, kwargs)


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
