"""Consuming a system queue (review, notify): one handler, acked after it returned."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from rabbitjobs import events
from rabbitjobs.clock import now
from rabbitjobs.consumer.attachment import Attachment
from rabbitjobs.consumer.drained import Drained
from rabbitjobs.errors import RabbitJobsError
from rabbitjobs.wire.protocol import Delivery
from rabbitjobs.wire.session import Session
from rabbitjobs.wire.subscription import Handed

# After a failure the message waits here, unacked, and is then tried again by redelivery.
PAUSE_SECONDS = 2.0


class SystemConsumer:
    """Feeds ``handle`` with the messages of one queue; a failing handler gives them back later.

    On a quorum queue a message that is given back counts towards no limit here: system queues
    have none.
    """

    def __init__(
        self,
        *,
        queue: str,
        session: Session,
        handle: Callable[[Delivery], Awaitable[None]],
        prefetch: int,
        bus: events.Bus,
    ) -> None:
        self.queue = queue
        self._attachment = Attachment(
            name=queue, queue=queue, session=session, prefetch=prefetch, take=self._take, bus=bus
        )
        self._handle = handle
        self._bus = bus
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._trouble = ""
        self._settled = 0
        self._returned = 0

    async def start(self) -> None:
        """Subscribe; returns at once."""
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        self._attachment.start()

    def _take(self, handed: Handed) -> None:
        if self._stopping:
            self._give_back(handed)
            return
        task = self._loop.create_task(self._carry(handed))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, handed: Handed) -> None:
        try:
            await self._handle(handed.delivery)
        except RabbitJobsError as error:
            self._delayed(str(error))
            await self._later(handed)
        except Exception as error:  # a fault of ours: the message stays
            self._loop.call_exception_handler(
                {"message": f"handling a message of {self.queue} failed", "exception": error}
            )
            await self._later(handed)
        else:
            self._settled += 1
            self._attachment.ack(handed)
            self._delayed("")

    def _delayed(self, reason: str) -> None:
        """Say that handling stands still, or goes on: once, and not for each message that waits."""
        if reason == self._trouble:
            return
        self._trouble = reason
        here = self._attachment
        state, why = ("delayed", reason) if reason else (here.state, here.reason)
        self._bus.emit(events.ConsumerChanged(at=now(), queue=self.queue, state=state, reason=why))

    async def _later(self, handed: Handed) -> None:
        with contextlib.suppress(TimeoutError):  # who stops gives back at once
            async with asyncio.timeout(PAUSE_SECONDS):
                await self._stopped.wait()
        self._give_back(handed)

    def _give_back(self, handed: Handed) -> None:
        self._returned += 1
        self._attachment.nack(handed)

    async def drain(self, grace: float, hurry: asyncio.Event) -> Drained:
        """Stop taking and finish what runs, for at most ``grace`` seconds or until ``hurry``.

        What still runs then is not acked: the broker delivers it again.
        """
        settled, returned = self._settled, self._returned
        self._stopping = True
        if not await self._attachment.stop():
            return Drained(0, 0, 0)
        self._stopped.set()
        if self._tasks:
            finished = asyncio.ensure_future(asyncio.wait(tuple(self._tasks)))
            hurried = asyncio.ensure_future(hurry.wait())
            await asyncio.wait(
                [finished, hurried], timeout=grace, return_when=asyncio.FIRST_COMPLETED
            )
            finished.cancel()
            hurried.cancel()
        abandoned = len(self._tasks)
        for task in tuple(self._tasks):
            task.cancel()
        await self._attachment.finish()
        return Drained(self._settled - settled, self._returned - returned, abandoned)
