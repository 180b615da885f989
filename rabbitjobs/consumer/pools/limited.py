"""What the worker says to a job in a child: its soft limit, its cancellation, where it is.

A signal becomes ``SoftTimeLimit`` in the job that it is for, or has its stack told.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any

from rabbitjobs.consumer.context import Signal
from rabbitjobs.consumer.pools.frames import Mark
from rabbitjobs.consumer.stacks import coroutine_stack, frame_stack
from rabbitjobs.errors import SoftTimeLimit


def _nobody(_number: int, _stack: str) -> None:
    return


class Limited:
    """Which job may be interrupted now; ``on_signal`` is the handler, in the main thread.

    ``tell`` gets the number of a job and its stack, when the worker asks for it.
    """

    def __init__(self, mark: Mark, tell: Callable[[int, str], None] = _nobody) -> None:
        self._mark = mark
        self._tell = tell
        self._number = 0
        self._open = False
        self._shielded = 0
        self._late = False
        self._task: asyncio.Task[Any] | None = None
        self._over = False

    def begin(self, number: int) -> None:
        """A job is about to run; the worker can see that from now on."""
        self._number = number
        self._over = self._late = False
        self._mark.started = number

    def cancelled(self) -> bool:
        """Whether the job that runs was cancelled; the worker can see that it was asked for."""
        found = self._mark.cancelled == self._number
        if found:
            self._mark.noticed = self._number
        return found

    def lease_lost(self) -> Signal:
        """What the worker says of the lease of the job that is about to run."""
        number = self._number
        return Signal(lambda: self._mark.lost == number)

    def enter(self) -> None:
        """From here on the job's code runs; raises if its limit is over already."""
        self._open = True
        if self._mark.limited == self._number:
            self._strike()

    def leave(self) -> None:
        """The job's code has ended."""
        self._open = False

    def shield(self) -> bool:
        """What the job calls of ours must not be torn in two; whether this is a job's thread."""
        if threading.current_thread() is not threading.main_thread():
            return False
        self._shielded += 1
        return True

    def unshield(self) -> None:
        """The end of ``shield``; raises what was held back."""
        self._shielded -= 1
        if self._shielded:
            return
        self._answer(sys._getframe(1))
        if self._late:
            self._late = False
            self._strike()

    def on_signal(self, _signal: int, frame: FrameType | None) -> None:
        """The worker says that a soft limit is over, or asks where the job is."""
        if not self._shielded:
            self._answer(frame)
        if self._mark.limited == self._number:
            self._strike()

    def _answer(self, frame: FrameType | None) -> None:
        if self._mark.asked == self._number and self._number:
            self._mark.asked = 0
            task, waits = self._task, None
            # One that is in its own code at this moment, or blocks the loop, waits for nothing.
            if task is not None and not getattr(task.get_coro(), "cr_running", False):
                waits = coroutine_stack(task)
            self._tell(self._number, waits or frame_stack(frame))

    def _strike(self) -> None:
        if not self._open or self._over:
            return
        if self._shielded:
            self._late = True
            return
        self._over = True
        if self._task is None:
            raise SoftTimeLimit
        self._task.get_loop().call_soon_threadsafe(self._task.cancel)

    async def follow(self, job: Coroutine[Any, Any, Any]) -> Any:
        """Run an ``async def`` job: it is cancelled at its limit, and has then failed with it."""
        self._task = asyncio.current_task()
        try:
            self.enter()
            return await job
        except asyncio.CancelledError as error:
            if not self._over:
                raise
            raise SoftTimeLimit from error
        finally:
            self._task = None
            self.leave()
