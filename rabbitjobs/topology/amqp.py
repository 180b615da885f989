"""A blocking AMQP connection to declare and inspect with, on channels that may break."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Final, Self

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError, ChannelClosedByBroker

from rabbitjobs.broker.access import unreached
from rabbitjobs.broker.url import Address, parse_urls
from rabbitjobs.broker.version import Capabilities, from_properties
from rabbitjobs.errors import AccessRefused, ChannelClosed, ConnectionLost
from rabbitjobs.topology.objects import Binding, Exchange, Queue
from rabbitjobs.wire.pika_parameters import parameters

_TIMEOUT: Final = 30.0
_NOT_FOUND: Final = 404
_DIFFERENT: Final = 406


class Amqp:
    """One connection for topology work; not for use from several threads at a time.

    Every method raises `ConnectionLost` when the broker goes away, and `ChannelClosed` with the
    broker's code when it refuses (403: no right, 406: something else has this name).
    """

    def __init__(self, connection: pika.BlockingConnection, address: Address) -> None:
        self._connection = connection
        self._channel: BlockingChannel | None = None
        self.address = address

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; it may be gone already, or go meanwhile."""
        # What was asked has been answered by now: how the connection ends changes nothing.
        with contextlib.suppress(AMQPError):
            if self._connection.is_open:
                self._connection.close()

    @property
    def capabilities(self) -> Capabilities:
        """What the broker at the other end can do."""
        return from_properties(self._server_properties())

    def _server_properties(self) -> Mapping[str, Any]:
        # pika keeps them on the connection that the blocking one wraps, and shows them nowhere else
        return getattr(getattr(self._connection, "_impl", None), "server_properties", None) or {}

    def has_exchange(self, name: str) -> bool:
        """Whether the exchange is there, asked passively."""
        return self._passive(lambda c: c.exchange_declare(name, passive=True))

    def has_queue(self, name: str) -> bool:
        """Whether the queue is there, asked passively."""
        return self._passive(lambda c: c.queue_declare(name, passive=True))

    def declare_exchange(self, exchange: Exchange) -> None:
        """Create the exchange; nothing happens when the very same one is there."""
        self._call(
            lambda c: c.exchange_declare(
                exchange.name,
                exchange.type,
                durable=True,
                internal=exchange.internal,
                arguments=dict(exchange.arguments),
            )
        )

    def declare_queue(self, queue: Queue) -> None:
        """Create the queue; nothing happens when the very same one is there."""
        self._call(
            lambda c: c.queue_declare(queue.name, durable=True, arguments=dict(queue.arguments))
        )

    def bind(self, binding: Binding) -> None:
        """Create the binding, which may be there already."""
        arguments = dict(binding.arguments)
        source, destination, key = binding.source, binding.destination, binding.routing_key
        if binding.to_exchange:
            self._call(lambda c: c.exchange_bind(destination, source, key, arguments))
        else:
            self._call(lambda c: c.queue_bind(destination, source, key, arguments))

    def unbind(self, binding: Binding) -> None:
        """Remove the binding to a queue; it may be gone already, but its two ends must be there."""
        self._call(
            lambda c: c.queue_unbind(
                binding.destination, binding.source, binding.routing_key, dict(binding.arguments)
            )
        )

    def _passive(self, ask: Callable[[BlockingChannel], Any]) -> bool:
        try:
            self._call(ask)
        except ChannelClosed as error:
            if error.code == _NOT_FOUND:
                return False
            raise
        return True

    def _call(self, ask: Callable[[BlockingChannel], Any]) -> None:
        try:
            if self._channel is None or not self._channel.is_open:
                self._channel = self._connection.channel()
            ask(self._channel)
        except ChannelClosedByBroker as error:
            raise ChannelClosed(error.reply_text, code=error.reply_code) from error
        except AMQPError as error:
            raise ConnectionLost(
                f"expected {self.address} to answer, got {error or type(error).__name__}"
            ) from error


def same_or_fault(declare: Callable[[], None]) -> str | None:
    """Declare what is known to exist: ``None`` when it is the same, else the broker's own words."""
    try:
        declare()
    except ChannelClosed as error:
        if error.code == _DIFFERENT:
            return error.text
        raise
    return None


def connect(url: str) -> Amqp:
    """Connect to the first node of ``url`` (one AMQP URL, or several with commas) that answers.

    Raises `ConnectionLost` when none does, with the reason for each, and `AccessRefused` where
    the reason is a wrong user, password or vhost.
    """
    faults: list[ConnectionLost] = []
    for address in parse_urls(url):
        try:
            return Amqp(pika.BlockingConnection(_parameters(address)), address)
        except (AMQPError, OSError, AssertionError) as error:
            faults.append(unreached(address, _reason(error), error))
    refused = [fault for fault in faults if isinstance(fault, AccessRefused)]
    if len(refused) == len(faults) == 1:
        raise refused[0]
    kind = AccessRefused if refused else ConnectionLost
    raise kind(f"expected a broker that lets us in, got {'; '.join(map(str, faults))}")


def _reason(error: BaseException) -> str:
    """Pika wraps the reason, and often leaves the text of the wrapping empty."""
    inner = getattr(error, "args", ())
    deepest = inner[0] if inner and isinstance(inner[0], BaseException) else error
    return str(getattr(deepest, "exception", deepest)) or repr(deepest)


def _parameters(address: Address) -> pika.ConnectionParameters:
    timeouts = ("blocked_connection_timeout", "socket_timeout", "stack_timeout")
    return parameters(address, "rabbitjobs topology", **dict.fromkeys(timeouts, _TIMEOUT))
