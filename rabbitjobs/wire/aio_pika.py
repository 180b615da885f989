"""The wire over aio-pika, for services that already hold an aio-pika connection.

It uses plain connections of aiormq, which aio-pika stands on, and never ``connect_robust``: that
one ignores timeouts, recreates deleted queues and never replays a publish. Needs the extra
``rabbitjobs[aio-pika]``.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

try:
    import aiormq
    from yarl import URL
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"expected the package aio-pika for this wire, got {error}; "
        "do pip install 'rabbitjobs[aio-pika]'"
    ) from error

from pamqp import commands
from pika import frame, spec

from rabbitjobs.broker.url import Address
from rabbitjobs.errors import ChannelClosed, ConnectionLost
from rabbitjobs.message.properties import Properties
from rabbitjobs.wire.aio_pika_channel import (
    BasicConsume,
    ExchangeDeclare,
    QueueBind,
    QueueDeclare,
    Writer,
    code_of,
    is_channel_error,
    on_end,
    open_channel,
    reason_of,
    undisturbed,
)
from rabbitjobs.wire.aio_pika_guard import GuardedTransport
from rabbitjobs.wire.frames import UNENCODABLE, culprit, publish_frames
from rabbitjobs.wire.guard import read_damage
from rabbitjobs.wire.protocol import (
    CONFIRMED,
    Delivery,
    Outcome,
    Outgoing,
    Rejected,
    Unknown,
)

if TYPE_CHECKING:
    from aio_pika.abc import AbstractConnection

_Pending = tuple[Outgoing, Callable[[Outcome], None]]
_CLOSE_SECONDS = 3.0
_BLOCKED_LISTENERS = "_rabbitjobs_blocked"


def _ignore(*_: Any) -> None:
    return None


class AioPikaWire:
    """One connection through aiormq; see ``rabbitjobs.wire.protocol.Wire``.

    With ``connection``, an open ``aio_pika`` connection of the same event loop, no other is made:
    the address is ignored, and ``close`` closes our channels only. Two things are then in the
    hands of the service: publishing and consuming share one connection, which an alarm blocks as
    a whole; and poison messages end it, unless it was made with ``GuardedTransport``.
    For a connection that lives on another loop see ``rabbitjobs.wire.bridge``.
    """

    def __init__(self, connection: AbstractConnection | None = None) -> None:
        self.closed: Callable[[str], None] = _ignore
        self.blocked: Callable[[bool], None] = _ignore
        self.server: Mapping[str, Any] = {}
        self.frame_max = 131_072
        self._given = connection
        self._connection: Any = None
        self._transport: GuardedTransport | None = None
        self._publisher: AioPikaPublisher | None = None
        self._consumers: set[AioPikaConsumer] = set()
        self._over = False

    async def open(self, address: Address, *, name: str) -> None:
        """Connect and open the confirming publish channel; ``ConnectionLost`` if that fails."""
        _cap_loggers()
        try:
            self._connection = self._borrow() if self._given else await self._connect(address, name)
            self.server = dict(self._connection.server_properties)
            self.frame_max = self._connection.connection_tune.frame_max
            on_end(self._connection, self._ended)
            _listen_blocked(self._connection, self._on_blocked)
            self._publisher = AioPikaPublisher(self._connection, self.frame_max)
            await self._publisher.open()
        except BaseException:
            await self.close()
            raise

    def _borrow(self) -> Any:
        underlay = getattr(self._given, "transport", None)
        if underlay is None or underlay.connection.is_closed:
            raise ConnectionLost("expected the given aio-pika connection to be open, got a closed")
        return underlay.connection

    async def _connect(self, address: Address, name: str) -> Any:
        self._transport = GuardedTransport(
            context=address.ssl_context(), server_name=address.server_name or address.host
        )
        connection = aiormq.Connection(
            _url(address, name),
            transport_factory=self._transport,
            client_properties={"connection_name": name, "product": "rabbitjobs"},
        )
        # From here on ``close`` knows what to abort, even if connecting is cancelled half-way.
        self._connection = connection
        try:
            await undisturbed(connection.connect(), connection)
        except (ConnectionLost, ChannelClosed) as error:
            raise ConnectionLost(f"no connection to {address}: {error}") from error
        return connection

    def _on_blocked(self, blocked: bool) -> None:
        self.blocked(blocked)

    def _ended(self, error: BaseException | None) -> None:
        if self._over:
            return
        self._over = True
        self._fail(reason_of(error))
        self.closed(reason_of(error))

    def _fail(self, reason: str) -> None:
        for consumer in tuple(self._consumers):
            consumer.abandon()
        if self._publisher is not None:
            self._publisher.fail(Unknown(f"the connection ended: {reason}"))

    def publish(self, message: Outgoing, done: Callable[[Outcome], None]) -> None:
        """Write one message; see the protocol."""
        if self._publisher is None or self._over or self._connection.is_closed:
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
    ) -> AioPikaConsumer:
        """Start a consumer on a channel of its own; see the protocol."""
        channel = await self._channel()
        consumer = AioPikaConsumer(channel, prefetch, deliver, cancelled, self._consumers)
        await consumer.start(queue, dict(arguments or {}))
        return consumer

    async def inspect_queue(self, queue: str) -> tuple[int, int]:
        """Ready messages and consumers of a queue; see the protocol."""
        answer = await self._ask(QueueDeclare(queue=queue, passive=True))
        return answer.message_count, answer.consumer_count

    async def inspect_exchange(self, exchange: str) -> None:
        """Raise ``ChannelClosed`` if there is no such exchange."""
        await self._ask(ExchangeDeclare(exchange=exchange, passive=True))

    async def temporary_queue(self, name: str, *, exchange: str, keys: Sequence[str]) -> str:
        """Declare and bind an exclusive queue; see the protocol."""
        answer = await self._ask(QueueDeclare(queue=name, exclusive=True))
        made: str = answer.queue
        for key in keys:
            await self._ask(QueueBind(queue=made, exchange=exchange, routing_key=key))
        return made

    async def close(self) -> None:
        """Close the connection, or of a given one our channels; ``closed`` is not called."""
        was_over, self._over = self._over, True
        connection = self._connection
        if connection is None or was_over:
            self._abort()
            return
        self._fail("it was closed")
        _forget_blocked(connection, self._on_blocked)
        if self._given is not None:
            await self._close_channels()
            return
        closing = asyncio.ensure_future(undisturbed(connection.close(), connection))
        await asyncio.wait([closing], timeout=_CLOSE_SECONDS)
        self._abort()
        closing.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _close_channels(self) -> None:
        for consumer in tuple(self._consumers):
            await consumer.close()
        if self._publisher is not None:
            await self._publisher.close()

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def _channel(self) -> Any:
        if self._connection is None or self._over:
            raise ConnectionLost("expected an open connection to the broker, got none")
        return await open_channel(self._connection)

    async def _ask(self, request: commands.Frame) -> Any:
        """One RPC on a throwaway channel, because a refusal closes it."""
        channel = await self._channel()
        try:
            return await undisturbed(channel.rpc(request), self._connection)
        finally:
            await _close_quietly(channel)


class AioPikaPublisher:
    """The publish channel in confirm mode, opened anew when a bad message closes it.

    aiormq's ``basic_publish`` is left out: it needs a task for each message and waits for the
    socket each time. Its bookkeeping of confirms and returns is used as it stands.
    """

    def __init__(self, connection: Any, frame_max: int) -> None:
        self._connection = connection
        self._frame_max = frame_max
        self._channel: Any = None
        self._writer: Writer | None = None
        self._flying: dict[int, _Pending] = {}
        self._held: list[_Pending] = []
        self._over = False
        self._opening: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open the channel and select confirms; then write what was held meanwhile."""
        channel = await open_channel(self._connection, confirms=True)
        self._channel, self._writer = channel, Writer(channel)
        on_end(channel, lambda error: self._on_channel_closed(channel, error))
        held, self._held = self._held, []
        for message, done in held:
            self.publish(message, done)

    def publish(self, message: Outgoing, done: Callable[[Outcome], None]) -> None:
        """Write the message now, or as soon as the channel is open again."""
        channel, writer = self._channel, self._writer
        if writer is None or channel.is_closed:
            self._held.append((message, done))
            return
        try:
            frames = publish_frames(message, channel.number, self._frame_max)
        except UNENCODABLE as error:
            done(Rejected("refused", reason_of(error)))
            return
        channel.delivery_tag += 1
        tag = channel.delivery_tag
        message_id = message.properties.message_id
        confirmation = channel.create_future()
        channel.confirmations[tag] = confirmation
        if message_id is not None:
            channel.message_id_delivery_tag[message_id] = tag
        self._flying[tag] = (message, done)
        confirmation.add_done_callback(lambda future: self._resolve(channel, tag, future))
        writer.write(frames)

    def _resolve(self, channel: Any, tag: int, confirmation: asyncio.Future[Any]) -> None:
        if channel is not self._channel or tag not in self._flying:
            return
        error = None if confirmation.cancelled() else confirmation.exception()
        outcome: Outcome
        if isinstance(error, aiormq.PublishError):
            outcome = Rejected("unroutable", f"no queue takes it: {reason_of(error)}", 312)
        elif isinstance(error, aiormq.DeliveryError):
            outcome = Rejected("nacked", "the queue refused it: it is full")
        elif error is None and not confirmation.cancelled():
            outcome = CONFIRMED
        else:
            return  # the channel or the connection ended: its end tells all of them
        message, done = self._flying.pop(tag)
        channel.message_id_delivery_tag.pop(message.properties.message_id, None)
        done(outcome)

    def _on_channel_closed(self, channel: Any, error: BaseException | None) -> None:
        if self._over or channel is not self._channel or self._connection.is_closed:
            return
        self._writer = None
        flying, self._flying = list(self._flying.values()), {}
        self._opening = asyncio.get_running_loop().create_task(self._open_anew())
        reason = reason_of(error)
        guilty = culprit([message for message, _ in flying], reason)
        for message, done in flying:
            if message is guilty and is_channel_error(error):
                done(Rejected("refused", reason, code_of(error)))
            else:
                done(Unknown(f"the channel was closed: {reason}", channel=True))

    async def _open_anew(self) -> None:
        try:
            await self.open()
        except (ConnectionLost, ChannelClosed):
            # Without a publish channel the connection is of no use: its end is heard above.
            await undisturbed(self._connection.close(), self._connection)

    def fail(self, outcome: Unknown) -> None:
        """The connection is gone: what was written is unknown, what was held never left."""
        self._over = True
        flying, self._flying = list(self._flying.values()), {}
        held, self._held = self._held, []
        for _, done in flying:
            done(outcome)
        for _, done in held:
            done(Rejected("unavailable", outcome.text))

    async def close(self) -> None:
        """Close the channel only."""
        self._over = True
        if self._opening is not None:
            await asyncio.wait([self._opening])
        if self._channel is not None:
            await _close_quietly(self._channel)


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
        cancelled, self._cancelled = self._cancelled, _ignore
        cancelled(reason)

    def abandon(self) -> None:
        """The connection is gone, and its owner is told by other means."""
        self._cancelled = _ignore
        self._deliver = _ignore

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        """Acknowledge, if the channel is still open."""
        self._write(spec.Basic.Ack(tag, multiple))

    def nack(self, tag: int, *, requeue: bool = True) -> None:
        """Give back, if the channel is still open."""
        self._write(spec.Basic.Nack(tag, False, requeue))

    def _write(self, method: spec.Basic.Ack | spec.Basic.Nack) -> None:
        if not self._channel.is_closed:
            self._writer.write(frame.Method(self._channel.number, method).marshal())

    async def cancel(self) -> None:
        """Stop deliveries; those that came before the broker's answer are handed over first."""
        self._cancelled = _ignore
        if self._tag in self._channel.consumers:
            await self._rpc(commands.Basic.Cancel(consumer_tag=self._tag))
            # Their tasks were made before the answer was read; one turn lets them run.
            await asyncio.sleep(0)

    async def sync(self) -> None:
        """One round trip: ``basic.qos`` with the same prefetch changes nothing."""
        await self._rpc(
            commands.Basic.Qos(prefetch_size=0, prefetch_count=self._prefetch, global_=False)
        )

    async def _rpc(self, request: commands.Frame) -> Any:
        await self._writer.written()
        return await undisturbed(self._channel.rpc(request), self._connection)

    async def close(self) -> None:
        """Close the channel."""
        self._cancelled = _ignore
        self._siblings.discard(self)
        await self._writer.written()
        await _close_quietly(self._channel)


async def _close_quietly(channel: Any) -> None:
    if channel.is_closed or channel.connection.is_closed:
        return
    try:
        await undisturbed(channel.close(), channel.connection)
    except (ConnectionLost, ChannelClosed):
        return


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


def _url(address: Address, name: str) -> URL:
    return URL.build(
        scheme="amqps" if address.tls else "amqp",
        host=address.host,
        port=address.port,
        user=address.user,
        password=address.password.reveal(),
        path=f"/{address.vhost}",
        query={"heartbeat": str(address.heartbeat), "name": name},
    )


def _cap_loggers() -> None:
    """At DEBUG these loggers print bodies, headers and URLs."""
    for name in ("aiormq", "aio_pika", "pamqp"):
        logger = logging.getLogger(name)
        if logger.getEffectiveLevel() < logging.WARNING:
            logger.setLevel(logging.WARNING)


def _listen_blocked(connection: Any, listener: Callable[[bool], None]) -> None:
    """Hear of alarms: aiormq has no callback for them, so its two handlers are wrapped, once."""
    listeners: list[Callable[[bool], None]] | None = getattr(connection, _BLOCKED_LISTENERS, None)
    if listeners is None:
        listeners = []
        setattr(connection, _BLOCKED_LISTENERS, listeners)
        for name, blocked in (("blocked", True), ("unblocked", False)):
            _wrap_handler(connection, f"_Connection__handle_connection_{name}", listeners, blocked)
    listeners.append(listener)
    if not connection._Connection__connection_unblocked.is_set():
        listener(True)


def _wrap_handler(
    connection: Any, name: str, listeners: list[Callable[[bool], None]], blocked: bool
) -> None:
    original = getattr(connection, name)

    async def handle(method: Any) -> None:
        await original(method)
        for listener in tuple(listeners):
            listener(blocked)

    setattr(connection, name, handle)


def _forget_blocked(connection: Any, listener: Callable[[bool], None]) -> None:
    listeners = getattr(connection, _BLOCKED_LISTENERS, [])
    if listener in listeners:
        listeners.remove(listener)
