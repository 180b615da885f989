"""The pools of the worker's own process: coroutines on the loop, functions on threads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from rabbitjobs.consumer.context import Context, enter
from rabbitjobs.consumer.failure import failure_of
from rabbitjobs.consumer.pools.protocol import Ended, PoolOptions
from rabbitjobs.consumer.threads import Carried, Threads
from rabbitjobs.errors import HardTimeLimit, SoftTimeLimit
from rabbitjobs.job.definition import Definition
from rabbitjobs.message.arguments import encode_result
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.policy.decision import Failure

# What a coroutine has to end after it was cancelled at its hard limit.
LAST_SECONDS = 1.0


class LocalPool:
    """``async def`` jobs run on the loop, others on ``options.size`` threads; see ``Pool``.

    Coroutines are not counted: the consumer's slots bound them. Neither can be ended by force. An
    attempt that goes on beyond its hard limit is given up: its slot is free again, and
    ``options.worn_out`` is told, because what it holds is not.
    """

    def __init__(self, options: PoolOptions) -> None:
        self._options = options
        self._threads = Threads(options.size, name="rabbitjobs-job")
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """See ``Pool``: there is nothing to prepare."""

    def resize(self, size: int) -> None:
        """Run up to ``size`` functions at a time from now on; threads that are there stay."""
        self._threads.resize(size)

    def stop(self) -> None:
        """See ``Pool``."""
        self._stopping = True
        self._threads.stop()

    async def ended(self) -> None:
        """See ``Pool``: threads that still run a job end with the process."""

    async def run(self, definition: Definition, envelope: Envelope, context: Context) -> Ended:
        """See ``Pool``."""
        function, arguments = definition.function, definition.arguments
        assert function is not None and arguments is not None
        if self._stopping:
            raise asyncio.CancelledError
        try:
            args, kwargs = arguments.decode(envelope.body)
        except Exception as error:  # converting arguments runs user code
            return None, failure_of(error, "arguments")
        enter(context)
        if arguments.injected:
            args, kwargs = arguments.inject(args, kwargs, lambda _: context)
        result: bytes | None = None
        failure: Failure | None = None
        try:
            if definition.soft_limit is not None or definition.hard_limit is not None:
                context.begins(definition.soft_limit, definition.hard_limit)
                value, raised = await self._limited(definition, args, kwargs)
            elif definition.is_async:
                value, raised = await function(*args, **kwargs), None
            else:
                value, raised = await self._threads.run(function, args, kwargs)
            if isinstance(raised, HardTimeLimit):
                return None, failure_of(raised, "timeout")
            if raised is not None:
                return None, failure_of(raised)
            result = None if definition.ignore_result else encode_result(value)
        except asyncio.CancelledError as error:
            if self._stopping:
                raise
            failure = failure_of(error)
        except BaseException as error:  # user code: SystemExit and the like end the job, not us
            failure = failure_of(error)
        if definition.is_async:  # others cannot reach the task
            if self._loop is None:  # asking which loop runs is a system call, half a microsecond
                self._loop = asyncio.get_running_loop()
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

    # --- limits ---------------------------------------------------------------------------------

    async def _limited(
        self, definition: Definition, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Carried:
        function, over = definition.function, False
        assert function is not None
        running = (self._task if definition.is_async else self._call)(function, args, kwargs)
        soft, hard = definition.soft_limit, definition.hard_limit
        try:
            if soft is not None and not await running.within(soft.total_seconds()):
                over = True
                running.interrupt()
            if hard is None:
                await asyncio.wait({running.future})
            elif not await running.within(hard.total_seconds()):
                return None, await self._give_up(running, definition, hard.total_seconds())
        except asyncio.CancelledError:
            running.future.cancel()
            if definition.is_async:
                await asyncio.wait({running.future}, timeout=LAST_SECONDS)
            raise
        return running.carried(over)

    def _task(
        self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> _Running:
        begun = time.monotonic()
        task = asyncio.get_running_loop().create_task(_carried(function, args, kwargs))
        return _Running(task, lambda: begun, task.cancel)

    def _call(
        self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> _Running:
        from rabbitjobs.consumer.pools.interrupted import Interruptible

        call = Interruptible(function, args, kwargs)
        return _Running(self._threads.run(call, (), {}), lambda: call.begun, call.interrupt)

    async def _give_up(
        self, running: _Running, definition: Definition, seconds: float
    ) -> HardTimeLimit:
        text = f"expected the job to end within its hard limit of {seconds:g} s, got one that "
        if definition.is_async:
            running.interrupt()
            await asyncio.wait({running.future}, timeout=LAST_SECONDS)
            if running.future.done():
                return HardTimeLimit(f"{text}did not; it was cancelled")
        else:
            self._threads.give_up()
        self._options.worn_out(f"{definition.name} goes on beyond its hard limit of {seconds:g} s")
        return HardTimeLimit(
            f"{text}still runs; use pool='processes' for jobs that must be ended by force"
        )


class _Running(NamedTuple):
    """A job with limits that runs: when it began, and how it is interrupted."""

    future: asyncio.Future[Carried]
    begun: Callable[[], float | None]
    interrupt: Callable[[], object]

    async def within(self, seconds: float) -> bool:
        """Whether it ends within so many seconds of its begin."""
        while not self.future.done():
            begun = self.begun()
            left = seconds if begun is None else begun + seconds - time.monotonic()
            if left <= 0:
                return False
            await asyncio.wait({self.future}, timeout=left)
        return True

    def carried(self, over: bool) -> Carried:
        """What came of it; a coroutine that was cancelled at its limit has failed with that."""
        value, raised = self.future.result()
        if over and isinstance(raised, asyncio.CancelledError):
            limit = SoftTimeLimit()
            limit.__cause__ = raised
            return None, limit
        return value, raised


async def _carried(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Carried:
    try:
        return await function(*args, **kwargs), None
    except BaseException as error:  # user code: nothing of it may end the task in its own way
        return None, error
