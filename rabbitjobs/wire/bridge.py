"""A wire that lives on another event loop than its owner.

Our I/O thread has a loop of its own. A connection that a service already holds lives on the
service's loop, and must only be touched there: the bridge carries every call over and every
answer back, in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from rabbitjobs.broker.url import Address
from rabbitjobs.errors import ConnectionLost
from rabbitjobs.wire.mailbox import Mailbox
from rabbitjobs.wire.protocol import Consumer, Delivery, Outcome, Outgoing, Rejected, Wire

T = TypeVar("T")


class BridgedWire:
    """``wire`` as seen from another loop; ``home`` is the running loop on which it works.

    See ``rabbitjobs.wire.protocol.Wire``. If the home loop ends, calls raise ``ConnectionLost``.
    """

    def __init__(self, wire: Wire, home: asyncio.AbstractEventLoop) -> None:
        self.closed: Callable[[str], None] = lambda reason: None
        self.blocked: Callable[[bool], None] = lambda blocked: None
        self.alarm = ""
        self.server: Mapping[str, Any] = {}
        self.frame_max = wire.frame_max
        self._wire = wire
        self._home = home
        self._there = Mailbox(home)
        self._here: Mailbox | None = None

    async def open(self, address: Address, *, name: str) -> None:
        """Open the wire on its loop."""
        here = self._here = Mailbox(asyncio.get_running_loop())
        self._wire.closed = lambda reason: here.post(self._on_closed, reason)
        self._wire.blocked = lambda blocked: here.post(self._on_blocked, blocked, self._wire.alarm)
        await self.carry(self._wire.open(address, name=name))
        self.server, self.frame_max = self._wire.server, self._wire.frame_max

    def _on_closed(self, reason: str) -> None:
        self.closed(reason)

    def _on_blocked(self, blocked: bool, alarm: str) -> None:
        self.alarm = alarm
        self.blocked(blocked)

    def publish(self, message: Outgoing, done: Callable[[Outcome], None]) -> None:
        """Publish from the other side."""
        here = self._here
        if here is None or not self._home.is_running():
            done(Rejected("unavailable", "there is no connection"))
            return
        self._there.post(self._wire.publish, message, lambda outcome: here.post(done, outcome))

    async def consume(
        self,
        queue: str,
        *,
        prefetch: int,
        deliver: Callable[[Delivery], None],
        cancelled: Callable[[str], None],
        arguments: Mapping[str, Any] | None = None,
    ) -> BridgedConsumer:
        """Start a consumer there that delivers here."""
        here = self._here
        if here is None:
            raise ConnectionLost("expected an open connection to the broker, got none")
        consumer = await self.carry(
            self._wire.consume(
                queue,
                prefetch=prefetch,
                deliver=lambda delivery: here.post(deliver, delivery),
                cancelled=lambda reason: here.post(cancelled, reason),
                arguments=arguments,
            )
        )
        return BridgedConsumer(self, consumer, self._there)

    async def inspect_queue(self, queue: str) -> tuple[int, int]:
        """Ready messages and consumers."""
        return await self._begin(self._wire.inspect_queue(queue))

    async def inspect_exchange(self, exchange: str) -> None:
        """Raise ``ChannelClosed`` if there is no such exchange."""
        await self._begin(self._wire.inspect_exchange(exchange))

    async def temporary_queue(self, name: str, *, exchange: str, keys: Sequence[str]) -> str:
        """Declare and bind an exclusive queue."""
        return await self.carry(self._wire.temporary_queue(name, exchange=exchange, keys=keys))

    async def close(self) -> None:
        """Close the wire on its loop; a loop that has ended took it along."""
        try:
            await self.carry(self._wire.close())
        except ConnectionLost:
            return

    async def carry(self, work: Coroutine[Any, Any, T]) -> T:
        """Await a coroutine on the home loop; cancelling the waiter lets it go on there."""
        return await asyncio.shield(self._begin(work))

    def _begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
        """Begin a coroutine on the home loop; cancelling the future cancels it there."""
        if not self._home.is_running():
            work.close()
            raise ConnectionLost("expected the loop of the connection to run, got one that ended")
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._home))


class BridgedConsumer:
    """A consumer on another loop; see ``rabbitjobs.wire.protocol.Consumer``."""

    def __init__(self, bridge: BridgedWire, consumer: Consumer, there: Mailbox) -> None:
        self._bridge = bridge
        self._consumer = consumer
        self._there = there

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        """Acknowledge, in the order of the calls."""
        self._there.post(self._ack, tag, multiple)

    def _ack(self, tag: int, multiple: bool) -> None:
        self._consumer.ack(tag, multiple=multiple)

    def nack(self, tag: int, *, requeue: bool = True) -> None:
        """Give back, in the order of the calls."""
        self._there.post(self._nack, tag, requeue)

    def _nack(self, tag: int, requeue: bool) -> None:
        self._consumer.nack(tag, requeue=requeue)

    async def cancel(self) -> None:
        """Stop deliveries."""
        await self._bridge.carry(self._consumer.cancel())

    async def sync(self) -> None:
        """One round trip."""
        await self._bridge.carry(self._consumer.sync())

    async def close(self) -> None:
        """Close the channel."""
        try:
            await self._bridge.carry(self._consumer.close())
        except ConnectionLost:
            return
