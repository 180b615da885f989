"""A consumer of the pika wire, on a channel of its own."""

# pyright: reportAttributeAccessIssue=false
# The guard stands on parts of pika that its stubs leave out; a test holds them.

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from pika.channel import Channel

from rabbitjobs.errors import ChannelClosed
from rabbitjobs.message.properties import Properties
from rabbitjobs.wire.acks import taken_in
from rabbitjobs.wire.guard import read_damage
from rabbitjobs.wire.pika_calls import call, ignore, reason, resolve
from rabbitjobs.wire.protocol import Delivery


class PikaConsumer:
    """One consumer on one channel; see ``wire.protocol.Consumer``."""

    def __init__(
        self,
        channel: Channel,
        prefetch: int,
        deliver: Callable[[Delivery], None],
        cancelled: Callable[[str], None],
    ) -> None:
        self._channel = channel
        self._prefetch = prefetch
        self._deliver = deliver
        self._cancelled: Callable[[str], None] = cancelled
        self._tag = ""
        self._acks = 0

    async def start(self, queue: str, arguments: dict[str, Any]) -> None:
        """Set the prefetch and subscribe."""
        channel = self._channel
        await self.sync()
        channel.add_on_cancel_callback(
            lambda _: self._over("the broker cancelled the consumer (queue deleted or timeout)")
        )
        answer = await call(
            channel,
            lambda done: channel.basic_consume(
                queue, self._on_message, arguments=arguments, callback=done
            ),
        )
        self._tag = answer.method.consumer_tag
        if not channel.is_open:  # closed by a frame right behind the answer: nobody else would say
            raise ChannelClosed("the channel was closed at once")
        channel.add_on_close_callback(lambda _, error: self._over(reason(error)))

    def _over(self, reason: str) -> None:
        cancelled, self._cancelled = self._cancelled, ignore
        cancelled(reason)

    def _on_message(self, _: Any, method: Any, properties: Any, body: bytes) -> None:
        self._deliver(_delivery(method, properties, body))

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        """Acknowledge, if the channel is still open."""
        if self._channel.is_open:
            self._acks += 1
            self._channel.basic_ack(tag, multiple)

    def nack(self, tag: int, *, requeue: bool = True) -> None:
        """Give back, if the channel is still open."""
        if self._channel.is_open:
            self._acks += 1
            self._channel.basic_nack(tag, False, requeue)

    async def cancel(self) -> None:
        """Stop deliveries."""
        self._cancelled = ignore
        tag = self._tag
        channel: Any = self._channel
        if not channel.is_open or tag not in channel.consumer_tags:
            return

        def rpc(done: Callable[[Any], None]) -> None:
            channel.basic_cancel(tag, callback=done)
            # From here on pika would reject what is still on its way, and for the broker each
            # reject counts as a failed delivery: let it arrive, the owner gives it back uncounted.
            channel._cancelled.discard(tag)

        await call(channel, rpc)

    async def sync(self) -> None:
        """One round trip, or two with a pause after many acks; see ``acks.taken_in``."""
        acks, self._acks = self._acks, 0
        await taken_in(self._round_trip, acks)

    async def _round_trip(self) -> None:
        """``basic.qos`` with the same prefetch changes nothing."""
        channel = self._channel
        await call(
            channel,
            lambda done: channel.basic_qos(prefetch_count=self._prefetch, callback=done),
        )

    async def close(self) -> None:
        """Close the channel, and wait for the broker's answer."""
        self._cancelled = ignore
        channel: Any = self._channel
        if channel.is_closed:
            return
        gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        channel.add_on_close_callback(lambda *_: resolve(gone, None))
        if channel.is_open:
            # Behind an RPC without an answer pika would never send it.
            channel._blocking = None
            channel._blocked.clear()
            channel.close()
        await gone


def _delivery(method: Any, properties: Any, body: bytes) -> Delivery:
    ours: Properties = properties.value  # the guard below pika decoded it
    damage = read_damage(ours.headers) if ours.headers else None
    if damage is not None:
        return Delivery(
            method.delivery_tag,
            method.exchange,
            method.routing_key,
            method.redelivered,
            Properties(),
            body,
            *damage,
        )
    return Delivery(
        method.delivery_tag,
        method.exchange,
        method.routing_key,
        method.redelivered,
        ours,
        body,
    )
