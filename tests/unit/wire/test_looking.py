"""A look at a queue that nobody answers: it ends in time, and its channel with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pika import frame, spec

from rabbitjobs.testing.wire.scripted import ScriptedBroker
from rabbitjobs.wire.aio_pika import AioPikaWire
from rabbitjobs.wire.bridge import BridgedWire
from rabbitjobs.wire.pika import PikaWire
from rabbitjobs.wire.protocol import Wire
from tests.unit.wire.scripted_wire import until


class Counting(ScriptedBroker):
    """Answers no declare, and knows which channels are open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: set[int] = set()

    @property
    def asked(self) -> int:
        """How many looks have reached it."""
        return sum(isinstance(one, spec.Queue.Declare) for one in self.heard)

    def _answer(self, found: Any) -> bytes:
        method = found.method if isinstance(found, frame.Method) else None
        if isinstance(method, spec.Channel.Open):
            self.open.add(found.channel_number)
        elif isinstance(method, spec.Channel.Close):
            self.open.remove(found.channel_number)
        return super()._answer(found)


def bridged() -> BridgedWire:
    """As one over a connection of the service's."""
    return BridgedWire(AioPikaWire(), asyncio.get_running_loop())


@pytest.fixture(params=[PikaWire, AioPikaWire, bridged])
async def looking(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Wire, Counting]]:
    """A wire that is open, and its broker."""
    broker, wire = Counting(), request.param()
    async with broker.running() as address:
        await wire.open(address, name="t")
        yield wire, broker
        await wire.close()


async def test_looks_without_an_answer_end_in_time_and_leave_no_channel(
    looking: tuple[Wire, Counting],
) -> None:
    """Of a queue without a leader no node says anything, and a consumer looks every 15 s."""
    wire, broker = looking
    for times in range(1, 4):
        look = asyncio.ensure_future(wire.inspect_queue("q"))
        await until(lambda times=times: broker.asked == times)  # type: ignore[misc]
        async with asyncio.timeout(30):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await look
    assert broker.asked == 3
    await until(lambda: len(broker.open) == 1)


async def test_a_look_that_is_given_up_at_any_moment_leaves_no_channel(
    looking: tuple[Wire, Counting],
) -> None:
    """Before its channel is open, just then, and after that."""
    wire, broker = looking
    for turns in range(40):
        look = asyncio.ensure_future(wire.inspect_queue("q"))
        for _ in range(turns):
            await asyncio.sleep(0)
        look.cancel()
        async with asyncio.timeout(30):
            await asyncio.wait([look])
        assert look.cancelled()
    assert broker.asked > 5
    await until(lambda: len(broker.open) == 1)
