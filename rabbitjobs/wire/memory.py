"""The wire to a broker in memory: the same protocol, callbacks and errors, without a network.

For users' tests and our own: ``MemoryWire(MemoryBroker())`` stands wherever a wire stands.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from rabbitjobs.broker.url import Address
from rabbitjobs.errors import ChannelClosed, ConnectionLost
from rabbitjobs.message.properties import Properties
from rabbitjobs.wire.frames import UNENCODABLE, header_payload
from rabbitjobs.wire.guard import BAD_FRAME, damage_of, decode_header, marked, read_damage
from rabbitjobs.wire.memory_broker import MemoryBroker
from rabbitjobs.wire.memory_queue import Entry, Queue
from rabbitjobs.wire.protocol import Delivery, Outcome, Outgoing, Rejected, Unknown

__all__ = ["MemoryBroker", "MemoryConsumer", "MemoryWire"]

_SHORT_STRING = 255


class MemoryWire:
    """One connection to a ``MemoryBroker``; see ``rabbitjobs.wire.protocol.Wire``.

    The address is ignored, but for its place in error texts.
    """

    def __init__(self, broker: MemoryBroker) -> None:
        self.closed: Callable[[str], None] = lambda reason: None
        self.blocked: Callable[[bool], None] = lambda blocked: None
        self.alarm = ""
        self.server: Mapping[str, Any] = {
            "product": "RabbitMQ",
            "version": broker.version,
            "platform": "memory",
            "cluster_name": "memory",
        }
        self.frame_max = 131_072
        self.broker = broker
        self.is_open = False
        self.consumers: list[MemoryConsumer] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pending: list[tuple[Outgoing, Callable[[Outcome], None]]] = []
        self._unconfirmed: list[Callable[[Outcome], None]] = []
        self._flushing = False

    async def open(self, address: Address, *, name: str) -> None:
        """Connect. Raises ``ConnectionLost`` while the broker is stopped."""
        if not self.broker.running:
            raise ConnectionLost(f"expected a broker at {address}, got none: it is stopped")
        self._loop = asyncio.get_running_loop()
        self.is_open = True
        self.broker.connect(self)
        if self.broker.blocked:
            self.block(True)

    def publish(self, message: Outgoing, done: Callable[[Outcome], None]) -> None:
        """Publish in the next round of the loop, with all that was written in this one."""
        if not self.is_open or self._loop is None:
            done(Rejected("unavailable", "the connection is not open"))
            return
        try:
            message = as_on_the_wire(message)
        except ValueError as error:
            done(Rejected("refused", str(error)))
            return
        self._pending.append((message, done))
        self._schedule_flush()

    def _schedule_flush(self) -> None:
        if not self._flushing and self._loop is not None:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self.broker.blocked or not self.is_open:
            return
        batch, self._pending = self._pending, []
        refused = False
        for message, done in batch:
            if refused:
                # The broker drops what follows on a channel that it closes.
                done(Unknown("the channel was closed by a neighbour", channel=True))
                continue
            outcome = self.broker.publish(message)
            refused = isinstance(outcome, Rejected) and outcome.reason == "refused"
            if self.broker.confirming or refused:
                done(outcome)
            else:
                self._unconfirmed.append(done)

    async def consume(
        self,
        queue: str,
        *,
        prefetch: int,
        deliver: Callable[[Delivery], None],
        cancelled: Callable[[str], None],
        arguments: Mapping[str, Any] | None = None,
    ) -> MemoryConsumer:
        """Start a consumer; a ``prefetch`` of 0 is no limit. Raises ``ChannelClosed``."""
        await self._round()
        with self.broker.changed:
            found = self.broker.queue(queue, user=self)
            consumer = MemoryConsumer(self, found, prefetch, deliver, cancelled)
            self.consumers.append(consumer)
            self.broker.subscribe(found, consumer)
        return consumer

    async def inspect_queue(self, queue: str) -> tuple[int, int]:
        """Ready messages and consumers. Raises ``ChannelClosed``."""
        await self._round()
        found = self.broker.queue(queue, user=self)
        return len(found.ready), len(found.consumers)

    async def inspect_exchange(self, exchange: str) -> None:
        """Raise ``ChannelClosed`` if there is no such exchange."""
        await self._round()
        self.broker.exchange(exchange)

    async def temporary_queue(self, name: str, *, exchange: str, keys: Sequence[str]) -> str:
        """Declare an exclusive queue that goes with this connection; an empty name is made up."""
        await self._round()
        name = name or f"amq.gen-{uuid.uuid4().hex}"
        if name in self.broker.queues:
            self.broker.queue(name, user=self)
        self.broker.declare_queue(name, owner=self)
        for key in keys:
            self.broker.bind(exchange, name, key)
        return name

    async def close(self) -> None:
        """Close; what waited for an alarm to clear becomes ``Unknown``."""
        if self.is_open:
            self._flush()
            self._end("the connection was closed")
            await asyncio.sleep(0)

    async def _round(self) -> None:
        """One turn of the loop, as a network would take at least, on an open connection."""
        await asyncio.sleep(0)
        if not self.is_open:
            raise ConnectionLost("expected an open connection to the broker, got a closed one")

    # --- what the broker calls, from any thread -------------------------------------------

    def call(self, function: Callable[..., object], *values: object) -> None:
        """Call on this connection's loop, in order; nothing happens once the loop is closed."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(function, *values)

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call on this connection's loop after that many seconds."""
        if self._loop is not None:
            self.call(self._loop.call_later, seconds, call)

    def block(self, blocked: bool) -> None:
        """An alarm was raised or cleared."""
        self.alarm = "low on memory" if blocked else ""
        self.call(self.blocked, blocked)
        if not blocked:
            self.call(self._schedule_flush)

    def lose(self, reason: str) -> None:
        """The connection is cut: nothing of it counts any more, and its owner is told."""
        self.is_open = False
        for consumer in list(self.consumers):
            consumer.give_back()
        self.broker.disconnect(self)
        self.call(self._lost, reason)

    def _lost(self, reason: str) -> None:
        self._end(reason)
        self.closed(reason)

    def _end(self, reason: str) -> None:
        self.is_open = False
        for consumer in list(self.consumers):
            consumer.give_back()
        self.broker.disconnect(self)
        waiting = [*self._unconfirmed, *(done for _, done in self._pending)]
        self._unconfirmed, self._pending = [], []
        for done in waiting:
            done(Unknown(reason))


class MemoryConsumer:
    """One consumer; see ``rabbitjobs.wire.protocol.Consumer``."""

    def __init__(
        self,
        wire: MemoryWire,
        queue: Queue,
        prefetch: int,
        deliver: Callable[[Delivery], None],
        cancelled: Callable[[str], None],
    ) -> None:
        self.wire = wire
        self.is_open = True
        self._queue = queue
        self._prefetch = prefetch
        self._deliver = deliver
        self._cancelled = cancelled
        self._held: dict[int, Entry] = {}
        self._last = 0
        self._told = False

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        """Acknowledge. An unknown tag closes the channel, as it does on RabbitMQ."""
        with self.wire.broker.changed:
            if not self.is_open:
                return
            tags = [each for each in self._held if each <= tag] if multiple else [tag]
            if not self._knows(tag, tags):
                return
            for each in tags:
                del self._held[each]
            self.wire.broker.acked(self._queue, len(tags))

    def nack(self, tag: int, *, requeue: bool = True) -> None:
        """Give one message back, or have it dead-lettered with ``requeue=False``."""
        with self.wire.broker.changed:
            if not self.is_open or not self._knows(tag, [tag]):
                return
            entry = self._held.pop(tag)
            if requeue:
                self.wire.broker.give_back(self._queue, [entry], counted=False)
            else:
                self.wire.broker.reject(self._queue, entry)

    def _knows(self, tag: int, tags: list[int]) -> bool:
        if tags and all(each in self._held for each in tags):
            return True
        self.give_back()
        self.cancelled_by_broker(f"PRECONDITION_FAILED - unknown delivery tag {tag}")
        return False

    async def cancel(self) -> None:
        """Stop deliveries; those on their way arrive before this returns."""
        self.wire.broker.unsubscribe(self._queue, self)
        await self.sync()

    async def sync(self) -> None:
        """One turn of the loop. Raises ``ConnectionLost`` and ``ChannelClosed``."""
        await self.wire._round()
        if not self.is_open:
            raise ChannelClosed("expected an open channel, got a closed one")

    async def close(self) -> None:
        """Close; what is not settled goes back to the queue."""
        self.give_back()
        await asyncio.sleep(0)

    # --- what the broker calls, from any thread -------------------------------------------

    def has_room(self) -> bool:
        """Whether the prefetch allows one more."""
        if not self.is_open or not self.wire.is_open:
            return False
        return not self._prefetch or len(self._held) < self._prefetch

    def take(self, entry: Entry) -> None:
        """Hold a message and hand it over on the loop."""
        self._last += 1
        self._held[self._last] = entry
        properties = entry.delivered()
        damage, raw = read_damage(properties.headers) or (None, b"")
        delivery = Delivery(
            self._last,
            entry.exchange,
            entry.routing_key,
            entry.acquired > 0,
            properties if damage is None else Properties(),
            entry.body,
            damage,
            raw,
        )
        self.wire.call(self._hand_over, delivery)

    def _hand_over(self, delivery: Delivery) -> None:
        if self.is_open:
            self._deliver(delivery)

    def cancelled_by_broker(self, reason: str) -> None:
        """The broker ends the consumer; if its queue is gone, acks still do no harm."""
        if not self._told:
            self._told = True
            self.wire.call(self._cancelled, reason)

    def give_back(self) -> None:
        """The channel ends: what is held goes back and counts towards the delivery limit."""
        with self.wire.broker.changed:
            if not self.is_open:
                return
            self.is_open = False
            if self in self.wire.consumers:
                self.wire.consumers.remove(self)
            held, self._held = list(self._held.values()), {}
            self.wire.broker.unsubscribe(self._queue, self)
            self.wire.broker.give_back(self._queue, held, counted=True)


def as_on_the_wire(message: Outgoing) -> Outgoing:
    """The message as a consumer will read it: encoded by pika and decoded by the guard.

    So a test in memory meets the same limits and types as a real broker. Raises ``ValueError``
    for what AMQP cannot carry: long names, unknown types of headers, lone surrogates.
    """
    for text in (message.exchange, message.routing_key):
        if len(text.encode()) > _SHORT_STRING:
            raise ValueError(f"expected at most 255 bytes, got {len(text.encode())}: {text!r}")
    try:
        header = header_payload(message)
    except UNENCODABLE as error:
        raise ValueError(f"expected properties that AMQP can carry, got {error!r}") from error
    try:
        _, properties = decode_header(header, 0, len(header))
    except BAD_FRAME as error:
        properties = marked(damage_of(error), header)
    return msgspec.structs.replace(message, properties=properties)
