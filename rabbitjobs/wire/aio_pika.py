"""The wire over aio-pika, for services that already hold an aio-pika connection.

It uses plain connections of aiormq, which aio-pika stands on, and never ``connect_robust``: that
one ignores timeouts, recreates deleted queues and never replays a publish. Needs the extra
``rabbitjobs[aio-pika]``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
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

from pamqp.base import Frame

from rabbitjobs.broker.access import unreached
from rabbitjobs.broker.url import Address
from rabbitjobs.errors import ChannelClosed, ConnectionLost
from rabbitjobs.wire.aio_pika_channel import (
    ExchangeDeclare,
    QueueBind,
    QueueDeclare,
    QueueDelete,
    close_quietly,
    ignore,
    on_end,
    open_channel,
    reason_of,
    undisturbed,
)
from rabbitjobs.wire.aio_pika_consumer import AioPikaConsumer
from rabbitjobs.wire.aio_pika_guard import GuardedTransport
from rabbitjobs.wire.aio_pika_publisher import AioPikaPublisher
from rabbitjobs.wire.bridge import BridgedWire
from rabbitjobs.wire.protocol import Delivery, Outcome, Outgoing, Rejected, Unknown, Wire

if TYPE_CHECKING:
    from aio_pika import Connection

_CLOSE_SECONDS = 3.0
_BLOCKED_LISTENERS = "_rabbitjobs_blocked"
_BlockedListener = Callable[[bool, str], None]


def over(connection: Connection) -> Callable[[], Wire]:
    """Makes wires on the aio-pika connection of a service: ``RabbitJobs(wire=over(connection))``.

    The connection may live on any running loop; it is not closed by us. Jobs published and
    consumed by this app then share it, and an alarm blocks both.
    """
    return lambda: BridgedWire(AioPikaWire(connection), connection.loop)


class AioPikaWire:
    """One connection through aiormq; see ``rabbitjobs.wire.protocol.Wire``.

    With ``connection``, an open ``aio_pika`` connection of the same event loop, no other is made:
    the address is ignored, and ``close`` closes our channels only. Two things are then in the
    hands of the service: publishing and consuming share one connection, which an alarm blocks as
    a whole; and poison messages end it, unless it was made with ``GuardedTransport``.
    For a connection that lives on another loop, as it does for ``RabbitJobs``, see ``over``.
    """

    def __init__(self, connection: Connection | None = None) -> None:
        self.closed: Callable[[str], None] = ignore
        self.blocked: Callable[[bool], None] = ignore
        self.alarm = ""
        self.server: Mapping[str, Any] = {}
        self.frame_max = 131_072
        self._given = connection
        self._connection: Any = None
        self._transport: GuardedTransport | None = None
        self._publisher: AioPikaPublisher | None = None
        self._consumers: set[AioPikaConsumer] = set()
        self._temporary: list[str] = []
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
            said = self._transport.goodbye or str(error)
            raise unreached(address, said, error) from error
        return connection

    def _on_blocked(self, blocked: bool, alarm: str) -> None:
        self.alarm = alarm
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
        self._temporary.append(made)
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
            with contextlib.suppress(ConnectionLost, ChannelClosed):
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
        if self._temporary and not self._connection.is_closed:
            # They die with the connection, but this one lives on.
            channel = await open_channel(self._connection)
            for name in self._temporary:
                await undisturbed(channel.rpc(QueueDelete(queue=name)), self._connection)
            await close_quietly(channel)

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def _channel(self) -> Any:
        if self._connection is None or self._over:
            raise ConnectionLost("expected an open connection to the broker, got none")
        return await open_channel(self._connection)

    async def _ask(self, request: Frame) -> Any:
        """One RPC on a throwaway channel, because a refusal closes it."""
        channel = await self._channel()
        asked: asyncio.Future[Any] = asyncio.ensure_future(channel.rpc(request))
        try:
            return await undisturbed(asked, self._connection)
        finally:
            if asked.cancel():  # else aiormq's close would wait for its answer
                await asyncio.wait([asked])
            await close_quietly(channel)


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


def _listen_blocked(connection: Any, listener: _BlockedListener) -> None:
    """Hear of alarms: aiormq has no callback for them, so its two handlers are wrapped, once."""
    listeners: list[_BlockedListener] | None = getattr(connection, _BLOCKED_LISTENERS, None)
    if listeners is None:
        listeners = []
        setattr(connection, _BLOCKED_LISTENERS, listeners)
        for name, blocked in (("blocked", True), ("unblocked", False)):
            _wrap_handler(connection, f"_Connection__handle_connection_{name}", listeners, blocked)
    listeners.append(listener)
    if not connection._Connection__connection_unblocked.is_set():
        listener(True, "")


def _wrap_handler(
    connection: Any, name: str, listeners: list[_BlockedListener], blocked: bool
) -> None:
    original = getattr(connection, name)

    async def handle(method: Any) -> None:
        await original(method)
        for listener in tuple(listeners):
            listener(blocked, str(getattr(method, "reason", "")))

    setattr(connection, name, handle)


def _forget_blocked(connection: Any, listener: _BlockedListener) -> None:
    listeners = getattr(connection, _BLOCKED_LISTENERS, [])
    if listener in listeners:
        listeners.remove(listener)
