"""The wires pass the conformance suite: in memory, over pika and over aio-pika."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from rabbitjobs.testing.conformance import MakeWire, WireConformance
from rabbitjobs.testing.control import MemoryControl, RabbitControl
from rabbitjobs.wire.memory import MemoryBroker, MemoryWire
from rabbitjobs.wire.pika import PikaWire


class TestMemoryWire(WireConformance):
    """In memory."""

    @pytest.fixture
    async def broker(self) -> AsyncIterator[MemoryControl]:
        yield MemoryControl(MemoryBroker())

    @pytest.fixture
    def make_wire(self, broker: MemoryControl) -> MakeWire:
        return lambda: MemoryWire(broker.broker)
