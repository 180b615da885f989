"""Ending a running attempt that somebody cancelled: the job is told, and then ended by force."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Literal

import msgspec

from rabbitjobs.consumer.context import Context
from rabbitjobs.consumer.failure import plain_failure
from rabbitjobs.consumer.pools.protocol import Ended
from rabbitjobs.policy.decision import Failure
from rabbitjobs.store.cancellations import Cancellation

Force = Literal["at once", "after the grace", "never"]
"""When the task of an attempt is cancelled, by what that does to the job.

A coroutine is cancelled with it and can clean up: at once. What runs elsewhere is killed: after
the grace. A thread would go on, and only its slot be free: never.
"""


class Cancelled:
    """One attempt in its pool that is to end; the job is told when this is made."""

    def __init__(
        self,
        order: Cancellation,
        context: Context,
        task: asyncio.Task[None] | None,
        force: Force,
    ) -> None:
        self._order = order
        self._context = context
        self._task = task
        self._forced = False
        self._later: asyncio.TimerHandle | None = None
        context.cancel()
        if force == "at once":
            self._end()
        if force != "never":
            self._later = asyncio.get_running_loop().call_later(order.grace, self._end)

    def _end(self) -> None:
        self._forced = True
        if self._task is not None:
            self._task.cancel()

    async def ended(self, result: bytes | None, failure: Failure | None) -> Ended:
        """The pool is done with it: what came of the attempt.

        One that has failed, that was ended by force or that has seen its cancellation is cancelled.
        One that took no notice and succeeded has succeeded.
        """
        await self._leave_alone()
        if failure is None and not self._forced and not self._context.noticed:
            return result, failure
        cancelled = plain_failure("cancelled", self._order.said)
        if failure is not None:
            cancelled = msgspec.structs.replace(cancelled, traceback=failure.traceback)
        return None, cancelled

    async def _leave_alone(self) -> None:
        """No force from here on: the ending of the attempt must not be torn."""
        if self._later is not None:
            self._later.cancel()
        task = self._task
        if task is None or not task.cancelling():
            return
        with contextlib.suppress(asyncio.CancelledError):  # ours, a moment too late
            await asyncio.sleep(0)
        while task.uncancel():
            pass
