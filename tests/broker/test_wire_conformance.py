"""The wires pass the conformance suite: in memory, over pika and over aio-pika."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from rabbitjobs.broker.node import Node
from rabbitjobs.testing.conformance import MakeWire, NetworkConformance, WireConformance
from rabbitjobs.testing.control import MemoryControl, RabbitControl
from rabbitjobs.wire.aio_pika import AioPikaWire
from rabbitjobs.wire.memory import MemoryBroker, MemoryWire
from rabbitjobs.wire.pika import PikaWire

_ALARM = "{{resource_limit, memory, node()}, []}"


@pytest.fixture(scope="module")
def alarmed_node() -> Iterator[Node]:
    """A node of this module's own: an alarm on it must disturb nobody else."""
    with Node() as node:
        yield node


class TestMemoryWire(WireConformance):
    """In memory."""

    @pytest.fixture
    async def broker(self) -> AsyncIterator[MemoryControl]:
        yield MemoryControl(MemoryBroker())

    @pytest.fixture
    def make_wire(self, broker: MemoryControl) -> MakeWire:
        return lambda: MemoryWire(broker.broker)


class OnRabbitMQ(WireConformance, NetworkConformance):
    """On a real node, each test on a vhost of its own."""

    @pytest.fixture
    async def broker(self, alarmed_node: Node) -> AsyncIterator[RabbitControl]:
        def alarm(on: bool) -> None:
            alarmed_node.eval(
                f"rabbit_alarm:set_alarm({_ALARM})."
                if on
                else "rabbit_alarm:clear_alarm({resource_limit, memory, node()})."
            )

        control = RabbitControl(alarmed_node.create_vhost(), alarm=alarm)
        await control.start()
        yield control
        await control.close()
        alarmed_node.delete_vhost(control.address.vhost)


class TestPikaWire(OnRabbitMQ):
    """Over pika's asyncio adapter."""

    @pytest.fixture
    def make_wire(self) -> MakeWire:
        return PikaWire


class TestAioPikaWire(OnRabbitMQ):
    """Over aiormq, with a connection of its own."""

    @pytest.fixture
    def make_wire(self) -> MakeWire:
        return AioPikaWire
