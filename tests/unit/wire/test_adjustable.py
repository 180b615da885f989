"""A subscription that is changed while it runs: nothing that it handed over is lost by that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import tenacity

from rabbitjobs.wire import adjustable
from rabbitjobs.wire import link as link_module
from rabbitjobs.wire import subscription as module
from tests.unit.wire.reader import ChangingReader
from tests.unit.wire.scripted_wire import until


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "SHORT_LIFE_SECONDS", 0.01)
    monkeypatch.setattr(adjustable, "FILL_SECONDS", 0.005)


@pytest.fixture
async def reader() -> AsyncIterator[ChangingReader]:
    found = ChangingReader(prefetch=3)
    found.link.start()
    await found.consuming()
    yield found
    await found.stop()


async def test_another_prefetch_takes_another_consumer(reader: ChangingReader) -> None:
    """What the first one handed over is acked there, and then its channel is closed."""
    first = reader.consumer
    first.deliver(1)
    await until(lambda: reader.handed)
    reader.subscription.resize(9)
    await reader.consuming(2)
    assert reader.wire.prefetches == [3, 9]
    assert first.cancelled_by_us and not first.closed
    reader.subscription.ack(reader.handed[0])
    await until(lambda: first.closed)
    assert ("ack", 1) in first.told
    reader.consumer.deliver(1)
    await until(lambda: len(reader.handed) == 2)
    reader.subscription.ack(reader.handed[1])
    await until(lambda: ("upto", 1) in reader.consumer.told)


async def test_the_same_prefetch_changes_nothing(reader: ChangingReader) -> None:
    reader.subscription.resize(3)
    await asyncio.sleep(0.01)
    assert len(reader.wire.consumers) == 1


async def test_paused_it_holds_what_it_has_and_takes_nothing(reader: ChangingReader) -> None:
    """It can still be settled; another prefetch waits for the end of the pause."""
    first = reader.consumer
    first.deliver(1)
    await until(lambda: reader.handed)
    reader.subscription.pause()
    await until(lambda: reader.said("paused"))
    assert first.cancelled_by_us
    reader.subscription.resize(5)
    reader.subscription.nack(reader.handed[0])
    await until(lambda: first.closed)
    assert len(reader.wire.consumers) == 1
    reader.subscription.resume()
    await reader.consuming(2)
    assert reader.wire.prefetches == [3, 5]


async def test_it_stays_paused_on_a_new_connection(reader: ChangingReader) -> None:
    """And consumes there when it is resumed."""
    reader.subscription.pause()
    await until(lambda: reader.consumer.cancelled_by_us)
    reader.wire.closed("gone")
    await until(lambda: len(reader.world.wires) == 2)
    await asyncio.sleep(0.02)
    assert reader.wire.consumers == []
    reader.subscription.resume()
    await reader.consuming(2)


@pytest.mark.parametrize("turns", range(6))
async def test_resumed_at_any_moment_it_consumes_once(reader: ChangingReader, turns: int) -> None:
    """Also before the pause was over; there is one consumer in the end."""
    reader.subscription.pause()
    for _ in range(turns):
        await asyncio.sleep(0)
    reader.subscription.resume()

    def alive() -> int:
        return sum(not one.cancelled_by_us for one in reader.wire.consumers)

    def consumes() -> bool:
        watching = reader.subscription._watching
        return (
            alive() == 1
            and reader.subscription._consumer is reader.consumer
            and reader.states[-1][0] == "consuming"
            and watching is not None
            and not watching.done()
        )

    await asyncio.sleep(0.03)
    await until(consumes)
    await asyncio.sleep(0.01)
    assert consumes(), reader.states


async def test_paused_before_it_ever_consumed_it_does_not_begin() -> None:
    """The broker answers late: what it gives then is let go."""
    reader = ChangingReader(prefetch=3)
    reader.world.answering.clear()
    reader.link.start()
    await until(lambda: reader.world.consumes == 1)
    reader.subscription.pause()
    reader.world.answering.set()
    await until(lambda: reader.said("paused"))
    assert reader.consumer.cancelled_by_us
    await reader.stop()


async def test_paused_while_its_queue_is_missing_it_tries_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When the queue is there again nothing is taken from it."""
    monkeypatch.setattr(tenacity, "wait_random_exponential", lambda **_: lambda _: 0.01)
    reader = ChangingReader(prefetch=3)
    reader.world.refused_consumes = 1000
    reader.link.start()
    await until(lambda: reader.world.consumes >= 2)
    reader.subscription.pause()
    reader.world.refused_consumes = 0
    await asyncio.sleep(0.05)
    assert reader.wire.consumers == []
    reader.subscription.resume()
    await reader.consuming()
    await reader.stop()


async def test_it_can_be_stopped_while_it_changes(
    reader: ChangingReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it goes on."""
    monkeypatch.setattr(module, "CONSUME_SECONDS", 0.05)
    reader.subscription.resize(9)
    await reader.subscription.stop()
    await asyncio.sleep(0.02)
    assert len(reader.wire.consumers) == 1
