"""Faults of our own while a message is handled: after several of one attempt a person decides."""

from __future__ import annotations

import asyncio

from rabbitjobs.consumer.handle import Handler
from rabbitjobs.consumer.refusals import Refusals
from rabbitjobs.consumer.running import Running, shake_off_cancel

# RabbitMQ 4.3 counts no message that is given back: without this it would go on for ever.
FAULTS_BEFORE_REVIEW = 3


class Faults:
    """How often the handling of each attempt has failed in this process."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._counts = Refusals()

    def __len__(self) -> int:
        return len(self._counts)

    def forget(self, running: Running) -> None:
        """It has ended."""
        if self._counts and running.key is not None:
            self._counts.forget(running.key)

    async def outlasted(self, running: Running, error: BaseException, pause: float) -> bool:
        """Whether the attempt is given up; if not, that is said after ``pause`` seconds.

        Whoever cancels this, as a job may that holds its task, ends the pause.
        """
        try:
            if await self.given_up(running, error):
                return True
            await asyncio.sleep(pause)
        except asyncio.CancelledError:
            shake_off_cancel()
        return False

    async def given_up(self, running: Running, error: BaseException) -> bool:
        """Whether the attempt has an ending after all, because its handling failed too often."""
        loop = asyncio.get_running_loop()
        loop.call_exception_handler(
            {"message": "handling a message failed; it is given back", "exception": error}
        )
        if running.key is None or running.envelope is None:
            return False
        if self._counts.add(running.key) < FAULTS_BEFORE_REVIEW:
            return False
        try:
            await self._handler.give_up(running.envelope, error)
        except Exception as again:
            loop.call_exception_handler(
                {"message": "a message could not be given up either", "exception": again}
            )
            return False
        return True
