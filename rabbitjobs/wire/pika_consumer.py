"""A consumer of the pika wire, on a channel of its own."""

# pyright: reportAttributeAccessIssue=false
# The guard stands on parts of pika that its stubs leave out; a test holds them.

from __future__ import annotations

import asyncio
import struct
import uuid
from collections.abc import Callable
from typing import Any

from pika.channel import Channel
from pika.spec import FRAME_END

from rabbitjobs.errors import ChannelClosed
from rabbitjobs.wire.acks import taken_in
from rabbitjobs.wire.guard import METHOD_FRAME
from rabbitjobs.wire.pika_calls import call, close_now, ignore, reason, resolve
from rabbitjobs.wire.pika_guard import GuardedAsyncioConnection
from rabbitjobs.wire.pika_inbox import Inbox
from rabbitjobs.wire.protocol import Delivery

# A whole frame: its type, the channel, its length; ``basic.ack``, the tag, ``multiple``; its end.
_ack = struct.Struct(">BHIIQ?B").pack
_ACK = 0x003C0050


class PikaConsumer:
    """One consumer on one channel; see ``wire.protocol.Consumer``."""

    def __init__(
        self,
        connection: GuardedAsyncioConnection,
        channel: Channel,
        prefetch: int,
        deliver: Callable[[Delivery], None],
        cancelled: Callable[[str], None],
    ) -> None:
        self._connection = connection
        self._channel = channel
        self._prefetch = prefetch
        self._deliver = deliver
        self._cancelled: Callable[[str], None] = cancelled
        self._tag = f"rj-{uuid.uuid4().hex}"
        self._acks = 0

    async def start(self, queue: str, arguments: dict[str, Any]) -> None:
        """Set the prefetch and subscribe."""
        channel = self._channel
        await self.sync()
        channel.add_on_cancel_callback(
            lambda _: self._over("the broker cancelled the consumer (queue deleted or timeout)")
        )
        # Before the request: the first deliveries may be read together with its answer.
        inbox = Inbox(channel.channel_number, self._tag, self._deliver)
        self._connection.deliver_to(inbox, channel)
        await call(
            channel,
            lambda done: channel.basic_consume(
                queue, ignore, consumer_tag=self._tag, arguments=arguments, callback=done
            ),
        )
        if not channel.is_open:  # closed by a frame right behind the answer: nobody else would say
            raise ChannelClosed("the channel was closed at once")
        channel.add_on_close_callback(lambda _, error: self._over(reason(error)))

    def _over(self, reason: str) -> None:
        cancelled, self._cancelled = self._cancelled, ignore
        cancelled(reason)

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        """Acknowledge, if the channel is still open."""
        if self._channel.is_open:
            self._acks += 1
            # pika's own encoder takes ten times as long.
            number = self._channel.channel_number
            self._connection.write(_ack(METHOD_FRAME, number, 13, _ACK, tag, multiple, FRAME_END))

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
        close_now(channel)
        await gone
