"""Browsing a queue for a person: take messages, look at them, hand back what was not taken out.

The sibling of ``subscription`` for a short visit on a connection of one's own: no reconnecting,
no coalescing. Workers consume by ``subscription`` only.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rabbitjobs.errors import ChannelClosed, ConnectionLost
from rabbitjobs.wire.protocol import Consumer, Delivery, Wire

# What the broker gets to answer when the visit begins, and when it ends.
ENTER_SECONDS = 15.0
LEAVE_SECONDS = 15.0
COUNT_SECONDS = 5.0


class Browser:
    """Someone who looks into one queue; made by ``browsing``."""

    def __init__(self, queue: str, idle: float) -> None:
        self._queue = queue
        self._idle = idle
        self._arrived: asyncio.Queue[Delivery | None] = asyncio.Queue()
        self._held: dict[int, None] = {}  # in their order, without their bodies
        self._consumer: Consumer | None = None
        self._ended = ""

    def deliver(self, delivery: Delivery) -> None:
        """A message came; it stays with the browser until it is taken out or handed back."""
        self._held[delivery.tag] = None
        self._arrived.put_nowait(delivery)

    def cancelled(self, reason: str) -> None:
        """The broker ended the visit."""
        self._ended = reason or "no reason given"
        self._arrived.put_nowait(None)

    async def next(self) -> Delivery | None:
        """The next message, ``None`` when none came for the idle seconds: others take them.

        Raises ``ConnectionLost`` when the broker ended the visit.
        """
        try:
            async with asyncio.timeout(self._idle):
                delivery = await self._arrived.get()
        except TimeoutError:
            return None
        if delivery is None:
            raise ConnectionLost(f"expected to look into {self._queue}, got: {self._ended}")
        return delivery

    def take_out(self, delivery: Delivery) -> None:
        """Ack a message: it leaves the queue for good, so what it was for must be done before."""
        assert self._consumer is not None
        del self._held[delivery.tag]
        self._consumer.ack(delivery.tag)

    async def enter(self, wire: Wire, prefetch: int) -> None:
        """Begin to consume; ``ConnectionLost`` without an answer: a queue needs a leader."""
        async with self._deadline(ENTER_SECONDS):
            self._consumer = await wire.consume(
                self._queue, prefetch=prefetch, deliver=self.deliver, cancelled=self.cancelled
            )

    async def leave(self) -> None:
        """Cancel, nack each, a round trip, close: in this order 4.3 does not count it."""
        consumer = self._consumer
        assert consumer is not None
        async with self._deadline(LEAVE_SECONDS):
            await consumer.cancel()
            for tag in self._held:
                consumer.nack(tag)
            await consumer.sync()
            await consumer.close()

    @asynccontextmanager
    async def _deadline(self, seconds: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            raise ConnectionLost(
                f"expected an answer about {self._queue} within {seconds:g} s, got none; "
                "look whether it has a leader (rabbitmq-queues quorum_status)"
            ) from None


@asynccontextmanager
async def browsing(wire: Wire, queue: str, *, prefetch: int, idle: float) -> AsyncIterator[Browser]:
    """Visit ``queue`` with at most ``prefetch`` messages out at a time.

    ``idle`` is the seconds that ``next`` waits. On leaving, whatever was not taken out is handed
    back; what was handed over is marked as redelivered from then on. Raises ``ChannelClosed`` when
    the queue is not there or may not be read, ``ConnectionLost`` when the broker does not answer.
    """
    browser = Browser(queue, idle)
    await browser.enter(wire, prefetch)
    try:
        yield browser
    finally:
        await browser.leave()


async def counted(wire: Wire, queue: str) -> tuple[int, int]:
    """How many messages are ready in a queue, for how many consumers; none without an answer.

    A silent connection is found by its heartbeats, a missing queue by those who consume it.
    """
    try:
        async with asyncio.timeout(COUNT_SECONDS):
            return await wire.inspect_queue(queue)
    except (ConnectionLost, ChannelClosed, TimeoutError):
        return 0, 0
