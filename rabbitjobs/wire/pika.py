"""The default wire: pika's asyncio adapter, used as a plain protocol engine.

It was measured six times faster than aio-pika, and it cancels no task of ours.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pika
import pika.exceptions
from pika.channel import Channel

from rabbitjobs.broker.url import Address
from rabbitjobs.errors import ChannelClosed, ConnectionLost
from rabbitjobs.message.properties import Properties
from rabbitjobs.wire.frames import UNENCODABLE, basic_properties, culprit
from rabbitjobs.wire.guard import read_damage
from rabbitjobs.wire.pika_guard import GuardedAsyncioConnection
from rabbitjobs.wire.protocol import (
    CONFIRMED,
    Delivery,
    Outcome,
    Outgoing,
    Rejected,
    Unknown,
)

_Pending = tuple[Outgoing, Callable[[Outcome], None]]


def _ignore(*_: Any) -> None:
    return None


def _reason(error: BaseException | None) -> str:
    return str(error) or type(error).__name__


class PikaWire:
    """One connection through ``pika.adapters.asyncio_connection``; see ``wire.protocol.Wire``."""

    def __init__(self) -> None:
        self.closed: Callable[[str], None] = _ignore
        self.blocked: Callable[[bool], None] = _ignore
        self.server: Mapping[str, Any] = {}
        self.frame_max = 131072
        self._connection: GuardedAsyncioConnection | None = None
        self._publisher: PikaPublisher | None = None
        self._closing = False

    async def open(self, address: Address, *, name: str) -> None:
        """Connect and open the confirming publish channel; ``ConnectionLost`` if that fails."""
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()

        def failed(_: Any, error: BaseException) -> None:
            if not opened.done():
                opened.set_exception(ConnectionLost(f"no connection to {address}: {_reason(error)}"))

        def ended(_: Any, error: BaseException) -> None:
            failed(_, error)
            self._ended(error)

        connection = GuardedAsyncioConnection(
            _parameters(address, name),
            on_open_callback=lambda _: opened.done() or opened.set_result(None),
            on_open_error_callback=failed,
            on_close_callback=ended,
            custom_ioloop=loop,
        )
        self._connection = connection
        connection.add_on_connection_blocked_callback(lambda *_: self.blocked(True))
        connection.add_on_connection_unblocked_callback(lambda *_: self.blocked(False))
        try:
            await opened
            self.server = connection.server_properties or {}
            self.frame_max = connection.params.frame_max
            self._publisher = PikaPublisher(connection)
            await self._publisher.open()
        except BaseException:
            await self.close()
            raise

    def _ended(self, error: BaseException) -> None:
        if self._publisher is not None:
            self._publisher.fail(Unknown(f"the connection ended: {_reason(error)}"))
        if not self._closing:
            self._closing = True
            self.closed(_reason(error))

    def publish(self, message: Outgoing, done: Callable[[Outcome], None]) -> None:
        """Write one message; see the protocol."""
        if self._publisher is None or self._connection is None or not self._connection.is_open:
            done(Rejected("unavailable", "there is no connection"))
        else:
            self._publisher.publish(message, done)

    async def consume(
        self,
        queue: str,
        *,
        prefetch: int,
        deliver: Callable[[Delivery], None],
        cancelled: Callable[[str], None],
        arguments: Mapping[str, Any] | None = None,
    ) -> PikaConsumer:
        """Start a consumer on a channel of its own; see the protocol."""
        consumer = PikaConsumer(await self._channel(), prefetch, deliver, cancelled)
        await consumer.start(queue, dict(arguments or {}))
        return consumer

    async def inspect_queue(self, queue: str) -> tuple[int, int]:
        """Ready messages and consumers of a queue; see the protocol."""
        channel = await self._channel()
        answer = await _call(
            channel, lambda done: channel.queue_declare(queue, passive=True, callback=done)
        )
        channel.close()
        return answer.method.message_count, answer.method.consumer_count

    async def inspect_exchange(self, exchange: str) -> None:
        """Raise ``ChannelClosed`` if there is no such exchange."""
        channel = await self._channel()
        await _call(
            channel, lambda done: channel.exchange_declare(exchange, passive=True, callback=done)
        )
        channel.close()

    async def temporary_queue(self, name: str, *, exchange: str, keys: Sequence[str]) -> str:
        """Declare and bind an exclusive queue; see the protocol."""
        channel = await self._channel()
        await _call(
            channel,
            lambda done: channel.queue_declare(name, exclusive=True, callback=done),
        )
        for key in keys:
            await _call(
                channel,
                lambda done, key=key: channel.queue_bind(name, exchange, key, callback=done),
            )
        channel.close()
        return name

    async def close(self) -> None:
        """Close the connection; ``closed`` is not called."""
        self._closing = True
        connection = self._connection
        if connection is None or connection.is_closed:
            return
        gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        connection.add_on_close_callback(lambda *_: gone.done() or gone.set_result(None))
        try:
            if connection.is_open:
                connection.close()
            elif not connection.is_closing:
                # Still in the handshake: pika cannot close politely, so the transport goes.
                connection._terminate_stream(None)
                return
            await asyncio.wait_for(gone, 2)
        except (pika.exceptions.AMQPError, TimeoutError):
            return

    async def _channel(self) -> Channel:
        connection = self._connection
        if connection is None or not connection.is_open:
            raise ConnectionLost("there is no connection")
        opened: asyncio.Future[Channel] = asyncio.get_running_loop().create_future()

        def ended(_: Any, error: BaseException) -> None:
            if not opened.done():
                opened.set_exception(_translate(error))

        channel: Channel = connection.channel(
            on_open_callback=lambda ch: opened.done() or opened.set_result(ch)
        )
        channel.add_on_close_callback(ended)
        return await opened


class PikaPublisher:
    """The publish channel in confirm mode, opened anew when a bad message closes it."""

    def __init__(self, connection: GuardedAsyncioConnection) -> None:
        self._connection = connection
        self._channel: Channel | None = None
        self._ready = False
        self._tag = 0
        self._flying: dict[int, _Pending] = {}
        self._held: deque[_Pending] = deque()
        self._returned: dict[str | None, Rejected] = {}

    async def open(self) -> None:
        """Open the channel and select confirms."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._start(ready)
        await ready

    def _start(self, ready: asyncio.Future[None] | None = None) -> None:
        def confirming(_: Any) -> None:
            self._ready = True
            if ready is not None and not ready.done():
                ready.set_result(None)
            while self._held and self._ready:
                self.publish(*self._held.popleft())

        def opened(channel: Channel) -> None:
            channel.add_on_return_callback(self._on_return)
            channel.confirm_delivery(self._on_confirm, callback=confirming)

        def ended(_: Any, error: BaseException) -> None:
            if ready is not None and not ready.done():
                ready.set_exception(_translate(error))
            self._on_channel_closed(error)

        self._tag, self._ready = 0, False
        self._channel = self._connection.channel(on_open_callback=opened)
        self._channel.add_on_close_callback(ended)

    def publish(self, message: Outgoing, done: Callable[[Outcome], None]) -> None:
        """Write the message now, or as soon as the channel is open again."""
        channel = self._channel
        if channel is None or not self._ready:
            self._held.append((message, done))
            return
        self._tag += 1
        self._flying[self._tag] = (message, done)
        try:
            channel.basic_publish(
                message.exchange,
                message.routing_key,
                message.body,
                basic_properties(message.properties),
                message.mandatory,
            )
        except UNENCODABLE as error:
            # Raised before anything was written: a wrong state, or a field that is too long.
            self._flying.pop(self._tag)
            self._tag -= 1
            done(Rejected("refused", _reason(error)))

    def _on_return(self, _: Any, method: Any, properties: Any, __: bytes) -> None:
        # The return comes before the ack of the same message; its own message id tells which.
        self._returned[properties.message_id] = Rejected(
            "unroutable", f"no queue takes it: {method.reply_text}", method.reply_code
        )

    def _on_confirm(self, frame: Any) -> None:
        method = frame.method
        acked = method.NAME == "Basic.Ack"
        if not method.multiple:
            self._resolve(method.delivery_tag, acked)
            return
        for tag in [tag for tag in self._flying if tag <= method.delivery_tag]:
            self._resolve(tag, acked)

    def _resolve(self, tag: int, acked: bool) -> None:
        pending = self._flying.pop(tag, None)
        if pending is None:
            return
        message, done = pending
        returned = self._returned.pop(message.properties.message_id, None) if self._returned else None
        if returned is not None:
            done(returned)
        elif acked:
            done(CONFIRMED)
        else:
            done(Rejected("nacked", "the queue refused it: it is full"))

    def _on_channel_closed(self, error: BaseException) -> None:
        self._ready = False
        if not isinstance(error, pika.exceptions.ChannelClosedByBroker):
            return  # the connection ended: ``fail`` follows
        flying, self._flying = list(self._flying.values()), {}
        self._returned.clear()
        guilty = culprit([message for message, _ in flying], error.reply_text)
        if self._connection.is_open:
            self._start()
        for message, done in flying:
            if message is guilty:
                done(Rejected("refused", error.reply_text, error.reply_code))
            else:
                done(Unknown(f"the channel was closed: {error.reply_text}", channel=True))

    def fail(self, outcome: Unknown) -> None:
        """The connection is gone: what was written is unknown, what was held never left."""
        flying, self._flying = list(self._flying.values()), {}
        held, self._held = list(self._held), deque()
        for _, done in flying:
            done(outcome)
        for _, done in held:
            done(Rejected("unavailable", outcome.text))


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

    async def start(self, queue: str, arguments: dict[str, Any]) -> None:
        """Set the prefetch and subscribe."""
        channel = self._channel
        await self.sync()
        channel.add_on_cancel_callback(
            lambda _: self._over("the broker cancelled the consumer (queue deleted or timeout)")
        )
        answer = await _call(
            channel,
            lambda done: channel.basic_consume(
                queue, self._on_message, arguments=arguments, callback=done
            ),
        )
        self._tag = answer.method.consumer_tag
        channel.add_on_close_callback(lambda _, error: self._over(_reason(error)))

    def _over(self, reason: str) -> None:
        cancelled, self._cancelled = self._cancelled, _ignore
        cancelled(reason)

    def _on_message(self, _: Any, method: Any, properties: Any, body: bytes) -> None:
        self._deliver(_delivery(method, properties, body))

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        """Acknowledge, if the channel is still open."""
        if self._channel.is_open:
            self._channel.basic_ack(tag, multiple)

    def nack(self, tag: int, *, requeue: bool = True) -> None:
        """Give back, if the channel is still open."""
        if self._channel.is_open:
            self._channel.basic_nack(tag, False, requeue)

    async def cancel(self) -> None:
        """Stop deliveries."""
        self._cancelled = _ignore
        channel, tag = self._channel, self._tag
        if not channel.is_open or tag not in channel.consumer_tags:
            return

        def rpc(done: Callable[[Any], None]) -> None:
            channel.basic_cancel(tag, callback=done)
            # From here on pika would reject what is still on its way, and for the broker each
            # reject counts as a failed delivery: let it arrive, the owner gives it back uncounted.
            channel._cancelled.discard(tag)

        await _call(channel, rpc)

    async def sync(self) -> None:
        """One round trip: ``basic.qos`` with the same prefetch changes nothing."""
        channel = self._channel
        await _call(
            channel,
            lambda done: channel.basic_qos(prefetch_count=self._prefetch, callback=done),
        )

    async def close(self) -> None:
        """Close the channel."""
        self._cancelled = _ignore
        if self._channel.is_open:
            self._channel.close()


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


def _translate(error: BaseException) -> ConnectionLost | ChannelClosed:
    if isinstance(error, pika.exceptions.ChannelClosedByBroker):
        return ChannelClosed(error.reply_text, code=error.reply_code)
    return ConnectionLost(_reason(error))


async def _call(channel: Channel, rpc: Callable[[Callable[[Any], None]], Any]) -> Any:
    """Run one RPC on a channel: its answer, ``ChannelClosed`` or ``ConnectionLost``."""
    answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def done(frame: Any) -> None:
        if not answered.done():
            answered.set_result(frame)

    def ended(_: Any, error: BaseException) -> None:
        if not answered.done():
            answered.set_exception(_translate(error))

    if not channel.is_open:
        raise ConnectionLost("the channel is closed")
    channel.add_on_close_callback(ended)
    try:
        rpc(done)
    except pika.exceptions.AMQPError as error:
        raise ConnectionLost(_reason(error)) from error
    return await answered


def _parameters(address: Address, name: str) -> pika.ConnectionParameters:
    context = address.ssl_context()
    return pika.ConnectionParameters(
        host=address.host,
        port=address.port,
        virtual_host=address.vhost,
        credentials=pika.PlainCredentials(address.user, address.password.reveal()),
        heartbeat=address.heartbeat,
        blocked_connection_timeout=None,
        connection_attempts=1,
        ssl_options=pika.SSLOptions(context, address.server_name or address.host)
        if context
        else None,
        client_properties={"connection_name": name, "product": "rabbitjobs"},
    )
