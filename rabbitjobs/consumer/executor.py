"""Running one attempt: whatever happens becomes an outcome. Never raises, but for its own stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

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


def _nowhere(_job_id: str, _progress: bytes) -> None:
    return


class Executor:
    """Runs jobs of one registry: ``async def`` on the loop, others on ``threads`` threads.

    For use from one event loop.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        threads: int,
        note_progress: Callable[[str, bytes], None] = _nowhere,
    ) -> None:
        self._registry = registry
        self._threads = Threads(threads, name="rabbitjobs-job")
        self._note_progress = note_progress
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None

    async def execute(self, envelope: Envelope) -> Outcome:
        """Run one attempt. Raises ``CancelledError`` only after ``stop``: nothing ended."""
        if self._loop is None:  # asking which loop runs is a system call, half a microsecond
            self._loop = asyncio.get_running_loop()
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
        # Where no result is kept there is no row that progress could stand in.
        context = Context(envelope, _nowhere if definition.ignore_result else self._note_progress)
        enter(context)
        if definition.arguments.injected:
            args, kwargs = definition.arguments.inject(args, kwargs, lambda _: context)
        try:
            if definition.is_async:
                value = await definition.function(*args, **kwargs)
            else:
                value, raised = await self._threads.run(definition.function, args, kwargs)
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
            task = asyncio.current_task(self._loop)
            if task is not None and task.cancelling() and not self._stopping:
                await self._shake_off_cancel(task)
        return result, failure

    async def _shake_off_cancel(self, task: asyncio.Task[Any]) -> None:
        """A job that cancelled its own task must not cancel the ending that follows it."""
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            if self._stopping:
                raise
        while task.uncancel():
            pass


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
