"""A consumer of the aio-pika wire, on a channel of its own."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

from pamqp import commands
from pamqp.base import Frame
from pika import frame, spec

from rabbitjobs.message.properties import Properties
from rabbitjobs.wire.acks import taken_in
from rabbitjobs.wire.aio_pika_channel import (
    BasicConsume,
    Writer,
    close_quietly,
    ignore,
    on_end,
    reason_of,
    undisturbed,
)
from rabbitjobs.wire.guard import read_damage
from rabbitjobs.wire.protocol import Delivery


class AioPikaConsumer:
    """One consumer on one channel; see ``rabbitjobs.wire.protocol.Consumer``."""

    def __init__(
        self,
        channel: Any,
        prefetch: int,
        deliver: Callable[[Delivery], None],
        cancelled: Callable[[str], None],
        siblings: set[AioPikaConsumer],
    ) -> None:
        self._channel = channel
        self._connection = channel.connection
        self._prefetch = prefetch
        self._deliver = deliver
        self._cancelled: Callable[[str], None] = cancelled
        self._siblings = siblings
        self._writer = Writer(channel)
        self._tag = f"rj-{uuid.uuid4().hex}"
        self._acks = 0
        self._asked: asyncio.Future[Any] | None = None

    async def start(self, queue: str, arguments: dict[str, Any]) -> None:
        """Set the prefetch and subscribe."""
        channel = self._channel
        await self.sync()
        channel.on_consumer_cancel_callbacks.add(self._on_cancel)
        channel.consumers[self._tag] = self._on_message
        request = BasicConsume(queue=queue, consumer_tag=self._tag, arguments=arguments)
        await undisturbed(channel.rpc(request), self._connection)
        self._siblings.add(self)
        on_end(channel, self._on_closed)

    async def _on_message(self, message: Any) -> None:
        # aiormq runs this in a task that ends with the connection: so it only hands over.
        self._deliver(_delivery(message))

    async def _on_cancel(self, _: Any) -> None:
        self._over("the broker cancelled the consumer (queue deleted or timeout)")

    def _on_closed(self, error: BaseException | None) -> None:
        self._siblings.discard(self)
        if self._connection.is_closed:
            self.abandon()
        else:
            self._over(reason_of(error))

    def _over(self, reason: str) -> None:
        cancelled, self._cancelled = self._cancelled, ignore
        cancelled(reason)

    def abandon(self) -> None:
        """The connection is gone, and its owner is told by other means."""
        self._cancelled = ignore
        self._deliver = ignore

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        """Acknowledge, if the channel is still open."""
        self._write(spec.Basic.Ack(tag, multiple))

    def nack(self, tag: int, *, requeue: bool = True) -> None:
        """Give back, if the channel is still open."""
        self._write(spec.Basic.Nack(tag, False, requeue))

    def _write(self, method: spec.Basic.Ack | spec.Basic.Nack) -> None:
        if not self._channel.is_closed:
            self._acks += 1
            self._writer.write(frame.Method(self._channel.number, method).marshal())

    async def cancel(self) -> None:
        """Stop deliveries; those that came before the broker's answer are handed over first."""
        self._cancelled = ignore
        if self._tag in self._channel.consumers:
            await self._rpc(commands.Basic.Cancel(consumer_tag=self._tag))
            # Their tasks were made before the answer was read; one turn lets them run.
            await asyncio.sleep(0)

    async def sync(self) -> None:
        """One round trip, or two with a pause after many acks; see ``acks.taken_in``."""
        acks, self._acks = self._acks, 0
        await taken_in(self._round_trip, acks)

    async def _round_trip(self) -> None:
        """``basic.qos`` with the same prefetch changes nothing."""
        await self._rpc(
            commands.Basic.Qos(prefetch_size=0, prefetch_count=self._prefetch, global_=False)
        )

    async def _rpc(self, request: Frame) -> Any:
        await self._writer.written()
        asked: asyncio.Future[Any] = asyncio.ensure_future(self._channel.rpc(request))
        self._asked = asked
        return await undisturbed(asked, self._connection)

    async def close(self) -> None:
        """Close the channel, and wait for the broker's answer."""
        self._cancelled = ignore
        self._siblings.discard(self)
        await self._writer.written()
        if self._asked is None or self._asked.done() or self._channel.is_closed:
            await close_quietly(self._channel)
        else:
            # aiormq's own close would wait for that answer; a cancelled RPC closes as well.
            self._asked.cancel()
            await asyncio.wait([self._channel.closing])


def _delivery(message: Any) -> Delivery:
    method = message.delivery
    properties = _properties(message.header.properties)
    damage = read_damage(properties.headers) if properties.headers else None
    where = (method.delivery_tag, method.exchange, method.routing_key, method.redelivered)
    if damage is not None:
        return Delivery(*where, Properties(), message.body, *damage)
    return Delivery(*where, properties, message.body)


def _properties(theirs: Any) -> Properties:
    timestamp = theirs.timestamp
    return Properties(
        message_id=theirs.message_id,
        type=theirs.message_type,
        content_type=theirs.content_type,
        content_encoding=theirs.content_encoding,
        correlation_id=theirs.correlation_id,
        reply_to=theirs.reply_to,
        app_id=theirs.app_id,
        priority=theirs.priority,
        timestamp=None if timestamp is None else int(timestamp.timestamp()),
        delivery_mode=theirs.delivery_mode or 1,
        headers=_plain(theirs.headers) if theirs.headers else {},
    )


def _plain(value: Any) -> Any:
    """A header's value in the types that every wire hands out."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, bytearray):
        return bytes(value)
    return int(value.timestamp()) if hasattr(value, "timestamp") else value
