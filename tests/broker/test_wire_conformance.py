"""The wires pass the conformance suite: in memory, over pika and over aio-pika."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

import aio_pika
import pytest
from yarl import URL

from rabbitjobs.broker.node import Node
from rabbitjobs.broker.url import Address
from rabbitjobs.testing.conformance import (
    FrameConformance,
    MakeWire,
    NetworkConformance,
    WireConformance,
)
from rabbitjobs.testing.control import MemoryControl, RabbitControl
from rabbitjobs.wire.aio_pika import AioPikaWire
from rabbitjobs.wire.aio_pika_guard import GuardedTransport
from rabbitjobs.wire.bridge import BridgedWire
from rabbitjobs.wire.memory import MemoryBroker, MemoryWire
from rabbitjobs.wire.pika import PikaWire

_ALARM = "{{resource_limit, memory, node()}, []}"


class TestMemoryWire(WireConformance):
    """In memory."""

    @pytest.fixture
    async def broker(self) -> AsyncIterator[MemoryControl]:
        yield MemoryControl(MemoryBroker())

    @pytest.fixture
    def make_wire(self, broker: MemoryControl) -> MakeWire:
        return lambda: MemoryWire(broker.broker)


class OnRabbitMQ(WireConformance):
    """On a real node, each test on a vhost of its own."""

    @pytest.fixture
    async def broker(self, node: Node) -> AsyncIterator[RabbitControl]:
        def alarm(on: bool) -> None:
            node.eval(
                f"rabbit_alarm:set_alarm({_ALARM})."
                if on
                else "rabbit_alarm:clear_alarm({resource_limit, memory, node()})."
            )

        control = RabbitControl(node.create_vhost(), alarm=alarm)
        await control.start()
        yield control
        await control.close()
        node.delete_vhost(control.address.vhost)


class TestPikaWire(OnRabbitMQ, NetworkConformance, FrameConformance):
    """Over pika's asyncio adapter."""

    @pytest.fixture
    def make_wire(self) -> MakeWire:
        return PikaWire


class TestAioPikaWire(OnRabbitMQ, NetworkConformance, FrameConformance):
    """Over aiormq, with a connection of its own."""

    @pytest.fixture
    def make_wire(self) -> MakeWire:
        return AioPikaWire


class TestAioPikaWireOnAGivenConnection(OnRabbitMQ):
    """Over the aio-pika connection of a service, which runs on a loop of its own."""

    @pytest.fixture
    def make_wire(self) -> Iterator[MakeWire]:
        service = Service()
        yield lambda: BridgedWire(ServiceWire(service), service.loop)
        service.close()


class Service:
    """An application with an event loop, in a thread, and connections to RabbitMQ of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._connections: list[aio_pika.Connection] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self.loop.run_forever()
        self.loop.close()

    async def connect(self, address: Address) -> aio_pika.Connection:
        """Open one more connection."""
        url = URL.build(
            scheme="amqp",
            host=address.host,
            port=address.port,
            user=address.user,
            password=address.password.reveal(),
            path=f"/{address.vhost}",
        )
        connection = aio_pika.Connection(url)
        connection.kwargs["transport_factory"] = GuardedTransport()
        await connection.connect()
        self._connections.append(connection)
        return connection

    def close(self) -> None:
        """End the loop; the relay between us and the broker is gone already."""
        asyncio.run_coroutine_threadsafe(self._close(), self.loop).result(40)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(40)

    async def _close(self) -> None:
        for connection in self._connections:
            await connection.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)


class ServiceWire(AioPikaWire):
    """A wire on a connection that the service opens just before."""

    def __init__(self, service: Service) -> None:
        super().__init__()
        self._service = service

    async def open(self, address: Address, *, name: str) -> None:
        """Have the service connect, and take its connection."""
        self._given = await self._service.connect(address)
        await super().open(address, name=name)
