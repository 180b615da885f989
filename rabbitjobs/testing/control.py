"""What a conformance suite does to a broker behind the back of the wire under test."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import pika

from rabbitjobs.broker.url import Address, parse_urls
from rabbitjobs.message.properties import Properties
from rabbitjobs.testing.relay import Relay
from rabbitjobs.testing.talk import publish_raw
from rabbitjobs.wire.guard import BAD_FRAME, damage_of, decode_header, marked
from rabbitjobs.wire.memory import MemoryBroker
from rabbitjobs.wire.protocol import Outgoing


class BrokerControl(Protocol):
    """The hands of the conformance suite on one empty broker (or vhost)."""

    @property
    def address(self) -> Address:
        """Where the wires under test connect to."""
        ...

    async def declare_queue(self, name: str, arguments: Mapping[str, Any] | None = None) -> None:
        """Declare a durable queue."""
        ...

    async def declare_exchange(self, name: str, kind: str = "direct") -> None:
        """Declare a durable exchange."""
        ...

    async def bind(self, exchange: str, queue: str, key: str) -> None:
        """Bind a queue."""
        ...

    async def delete_queue(self, name: str) -> None:
        """Delete a queue under its consumers."""
        ...

    async def ready(self, queue: str) -> int:
        """How many messages are ready in a queue, asked past the wires."""
        ...

    async def publish_raw(self, queue: str, key: bytes, header: bytes, body: bytes) -> None:
        """Publish to ``queue`` with ``key`` and a content header that nobody has checked.

        ``header`` is the header frame's payload, with the body's size in it.
        """
        ...

    async def drop_connections(self) -> None:
        """Cut every connection of the wires under test without a goodbye."""
        ...

    async def hold_answers(self) -> None:
        """Take what the wires send and let no answer through, until connections are dropped."""
        ...

    async def block(self) -> None:
        """Raise a memory alarm."""
        ...

    async def unblock(self) -> None:
        """Clear the memory alarm."""
        ...


class RabbitControl:
    """The hands on one vhost of a real RabbitMQ; the wires connect through a relay.

    ``url`` names the vhost. ``alarm`` raises (true) or clears (false) a memory alarm on the node;
    it runs in a thread. Call ``start`` first and ``close`` last.
    """

    def __init__(self, url: str, *, alarm: Callable[[bool], object]) -> None:
        self._direct = parse_urls(url)[0]
        self._alarm = alarm
        self._relay = Relay(self._direct.host, self._direct.port)

    async def start(self) -> None:
        """Start the relay."""
        await self._relay.start()

    async def close(self) -> None:
        """Stop the relay."""
        await self._relay.close()

    @property
    def address(self) -> Address:
        """The relay's address."""
        return dataclasses.replace(self._direct, host="127.0.0.1", port=self._relay.port)

    async def declare_queue(self, name: str, arguments: Mapping[str, Any] | None = None) -> None:
        """Declare a durable queue; it is a quorum queue unless ``arguments`` say otherwise."""
        wanted = {"x-queue-type": "quorum", **(arguments or {})}
        await self._do(lambda ch: ch.queue_declare(name, durable=True, arguments=wanted))

    async def declare_exchange(self, name: str, kind: str = "direct") -> None:
        """Declare a durable exchange."""
        await self._do(lambda ch: ch.exchange_declare(name, kind, durable=True))

    async def bind(self, exchange: str, queue: str, key: str) -> None:
        """Bind a queue."""
        await self._do(lambda ch: ch.queue_bind(queue, exchange, key))

    async def delete_queue(self, name: str) -> None:
        """Delete a queue under its consumers."""
        await self._do(lambda ch: ch.queue_delete(name))

    async def ready(self, queue: str) -> int:
        """Ask on a connection that does not go through the relay."""
        found: list[int] = []
        await self._do(
            lambda ch: found.append(ch.queue_declare(queue, passive=True).method.message_count)
        )
        return found[0]

    async def publish_raw(self, queue: str, key: bytes, header: bytes, body: bytes) -> None:
        """Publish over a socket of its own, through a fanout exchange."""
        exchange = f"raw.{queue}"
        await self.declare_exchange(exchange, "fanout")
        await self.bind(exchange, queue, "")
        await asyncio.to_thread(publish_raw, self._direct, exchange, key, [(header, body)])

    async def drop_connections(self) -> None:
        """Cut what goes through the relay."""
        self._relay.cut()

    async def hold_answers(self) -> None:
        """Hold back what the broker says."""
        self._relay.hold()

    async def block(self) -> None:
        """Raise a memory alarm on the node."""
        await asyncio.to_thread(self._alarm, True)

    async def unblock(self) -> None:
        """Clear the memory alarm."""
        await asyncio.to_thread(self._alarm, False)

    async def _do(self, work: Callable[[Any], object]) -> None:
        await asyncio.to_thread(self._work, work)

    def _work(self, work: Callable[[Any], object]) -> None:
        address = self._direct
        connection = pika.BlockingConnection(
            pika.ConnectionParameters(
                host=address.host,
                port=address.port,
                virtual_host=address.vhost,
                credentials=pika.PlainCredentials(address.user, address.password.reveal()),
            )
        )
        try:
            work(connection.channel())
        finally:
            connection.close()


class MemoryControl:
    """The hands on a ``MemoryBroker``."""

    def __init__(self, broker: MemoryBroker) -> None:
        self.broker = broker
        self.address = Address()

    async def declare_queue(self, name: str, arguments: Mapping[str, Any] | None = None) -> None:
        """Declare a queue, as a quorum queue unless ``arguments`` say otherwise."""
        wanted = {"x-queue-type": "quorum", **(arguments or {})}
        self.broker.declare_queue(name, arguments=wanted)

    async def declare_exchange(self, name: str, kind: str = "direct") -> None:
        """Declare an exchange."""
        self.broker.declare_exchange(name, kind)

    async def bind(self, exchange: str, queue: str, key: str) -> None:
        """Bind a queue."""
        self.broker.bind(exchange, queue, key)

    async def delete_queue(self, name: str) -> None:
        """Delete a queue under its consumers."""
        self.broker.delete_queue(name)

    async def ready(self, queue: str) -> int:
        """Ask the broker itself."""
        return self.broker.depth(queue)[0]

    async def publish_raw(self, queue: str, key: bytes, header: bytes, body: bytes) -> None:
        """Store the message as a wire's guard would show it."""
        properties: Properties
        try:
            _, properties = decode_header(header, 0, len(header))
            _ = key.decode()
        except BAD_FRAME as error:
            properties = marked(damage_of(error), header)
        self.broker.publish(Outgoing("", queue, properties, body))

    async def drop_connections(self) -> None:
        """Cut every connection."""
        self.broker.drop_connections()
        self.broker.confirming = True

    async def hold_answers(self) -> None:
        """Store, and confirm nothing."""
        self.broker.confirming = False

    async def block(self) -> None:
        """Raise an alarm."""
        self.broker.block()

    async def unblock(self) -> None:
        """Clear the alarm."""
        self.broker.unblock()
