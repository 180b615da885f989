"""A subscription outlives its connections; its acks are coalesced, and stale ones are dropped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import tenacity

from rabbitjobs.errors import ChannelClosed
from rabbitjobs.wire import leaving
from rabbitjobs.wire import link as link_module
from rabbitjobs.wire import subscription as module
from rabbitjobs.wire.subscription import Handed
from tests.unit.wire.reader import Reader
from tests.unit.wire.scripted_wire import until


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are short, but for the one that stops a hot loop."""
    monkeypatch.setattr(link_module, "SHORT_LIFE_SECONDS", 0.01)
    monkeypatch.setattr(tenacity, "wait_random_exponential", lambda **_: lambda _: 0.001)


class TenReader(Reader):
    """Of prefetch 10."""

    def __init__(self) -> None:
        super().__init__(prefetch=10)

    def deliver(self, *tags: int) -> list[Handed]:
        """Messages come."""
        before = len(self.handed)
        for tag in tags:
            self.consumer.deliver(tag)
        self.subscription._hand_over()
        return self.handed[before:]

    async def flushed(self) -> list[tuple[str, int]]:
        """What was told to the broker after one turn of the loop."""
        await asyncio.sleep(0)
        return self.consumer.told


@pytest.fixture
async def reader() -> AsyncIterator[TenReader]:
    """Consuming."""
    reader = TenReader()
    reader.link.start()
    await reader.consuming()
    yield reader
    await reader.subscription.stop()
    await reader.link.close()


async def test_neighbours_are_acked_as_one(reader: TenReader) -> None:
    """However they came to their end."""
    for one in reversed(reader.deliver(1, 2, 3)):
        reader.subscription.ack(one)
    assert await reader.flushed() == [("upto", 3)]


async def test_a_slow_message_does_not_hold_the_others_long(reader: TenReader) -> None:
    """They are acked one by one soon, and the slow one when it ends."""
    slow, *others = reader.deliver(1, 2, 3)
    for one in others:
        reader.subscription.ack(one)
    assert await reader.flushed() == []
    await until(lambda: reader.consumer.told)
    assert reader.consumer.told == [("ack", 2), ("ack", 3)]
    reader.subscription.ack(slow)
    assert await reader.flushed() == [("ack", 2), ("ack", 3), ("upto", 1)]


async def test_held_acks_never_starve_the_prefetch(reader: TenReader) -> None:
    """Half of the prefetch held back is let go at once."""
    _, *others = reader.deliver(*range(1, 7))
    for one in others:
        reader.subscription.ack(one)
    assert await reader.flushed() == [("ack", tag) for tag in range(2, 7)]


async def test_a_message_has_one_end(reader: TenReader) -> None:
    """The first word holds."""
    one, two = reader.deliver(1, 2)
    reader.subscription.nack(one)
    reader.subscription.ack(one)
    reader.subscription.ack(two)
    reader.subscription.nack(two)
    reader.subscription.ack(two)
    assert await reader.flushed() == [("nack", 1), ("upto", 2)]


async def test_what_came_on_an_earlier_connection_is_stale(reader: TenReader) -> None:
    """Its ack would mean another message there."""
    (old,) = reader.deliver(1)
    reader.world.wire.closed("gone")
    await reader.consuming(2)
    (new,) = reader.deliver(1)
    reader.subscription.ack(old)
    reader.subscription.nack(old)
    assert await reader.flushed() == []
    assert reader.subscription.stale == 2
    reader.subscription.ack(new)
    assert await reader.flushed() == [("upto", 1)]
    assert ("waiting", "gone") in reader.states


async def test_a_consumer_that_the_broker_cancels_is_unhealthy_and_comes_back(
    reader: TenReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the same connection, and without any declare."""
    monkeypatch.setattr(module, "SHORT_LIFE_SECONDS", 0.01)
    reader.world.refused_consumes = 3
    first = reader.consumer
    first.cancelled("the queue was deleted")
    await reader.consuming(2)
    states = [state for state, _ in reader.states]
    assert states == ["consuming", *["failed"] * 4, "consuming"]
    assert reader.states[1][1] == "the queue was deleted"
    assert "NOT_FOUND" in reader.states[2][1]
    assert len(reader.world.wires) == 1
    first.cancelled("again")
    first.deliver(9)
    assert reader.handed == []


async def test_what_a_cancelled_consumer_held_goes_back_to_the_queue(
    reader: TenReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its channel stays open on RabbitMQ 4.3, and held what was not acked for a consumer timeout.

    What was settled meanwhile is acked before the channel is closed.
    """
    monkeypatch.setattr(module, "SHORT_LIFE_SECONDS", 0.0)
    first = reader.consumer
    _one, two = reader.deliver(1, 2)
    reader.subscription.ack(two)
    first.cancelled("consumer timeout")
    await reader.consuming(2)
    assert first.closed
    assert first.told == [("ack", 2), ("sync", 0)]


async def test_a_consumer_that_is_cancelled_at_once_makes_no_hot_loop(reader: TenReader) -> None:
    """The next try waits."""
    reader.consumer.cancelled("taken away")
    await asyncio.sleep(0.05)
    assert reader.world.consumes == 1


async def test_a_consumer_that_is_cancelled_while_it_begins_is_followed_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of two, the first would keep what it was handed for as long as the connection lives."""
    monkeypatch.setattr(module, "SHORT_LIFE_SECONDS", 0.1)
    reader = TenReader()
    make = reader.world.make
    first = iter([True])

    def taken_away() -> object:
        wire = make()
        consume = wire.consume

        async def begin(queue: str, **options: Any) -> object:
            if next(first, False):
                options["cancelled"]("the queue was deleted")
                raise ChannelClosed("NOT_FOUND")
            return await consume(queue, **options)

        wire.consume = begin  # type: ignore[assignment, method-assign]
        return wire

    reader.link._make_wire = taken_away  # type: ignore[assignment]
    reader.link.start()
    await reader.consuming()
    await asyncio.sleep(0.2)
    assert [one for one in reader.wire.consumers if not one.closed] == [reader.consumer]
    await reader.stop()


@pytest.fixture
async def early() -> AsyncIterator[tuple[TenReader, asyncio.Event]]:
    """Two messages came, and the broker's answer that the consumer begins comes at this event."""
    reader, gate = TenReader(), asyncio.Event()
    make = reader.world.make

    def eager() -> object:
        wire = make()
        original = wire.consume

        async def slow(*args: object, **kwargs: object) -> object:
            consumer = await original(*args, **kwargs)  # type: ignore[arg-type]
            consumer.deliver(1)
            consumer.deliver(2)
            await gate.wait()
            return consumer

        wire.consume = slow  # type: ignore[assignment, method-assign]
        return wire

    reader.link._make_wire = eager  # type: ignore[assignment]
    reader.link.start()
    await until(lambda: len(reader.handed) == 2)
    yield reader, gate
    await reader.link.close()


async def test_what_is_settled_before_the_brokers_answer_is_told_after_it(
    early: tuple[TenReader, asyncio.Event],
) -> None:
    """Deliveries may overtake the answer. What is given back goes first: an ack would cover it."""
    reader, gate = early
    reader.subscription.nack(reader.handed[0])
    reader.subscription.ack(reader.handed[1])
    assert await reader.flushed() == []
    gate.set()
    await reader.consuming()
    assert await reader.flushed() == [("nack", 1), ("upto", 2)]


async def test_stopping_before_the_brokers_answer_loses_no_ack(
    early: tuple[TenReader, asyncio.Event],
) -> None:
    """What came before it and has run would run again."""
    reader, gate = early
    reader.subscription.ack(reader.handed[0])
    stopping = asyncio.ensure_future(reader.subscription.stop())
    await asyncio.sleep(0)
    gate.set()
    await stopping
    assert reader.consumer.cancelled_by_us
    reader.subscription.nack(reader.handed[1])
    await reader.subscription.finish()
    assert reader.consumer.told == [("upto", 1), ("nack", 2), ("sync", 0)]
    assert reader.consumer.closed
    assert reader.subscription._watching is None


async def test_an_answer_that_never_comes_holds_up_no_stop(
    early: tuple[TenReader, asyncio.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came is delivered again."""
    monkeypatch.setattr(module, "STOP_SECONDS", 0.01)
    reader, _ = early
    await reader.subscription.stop()
    await reader.subscription.finish()
    assert reader.states[-1] == ("stopped", "")


async def test_stopping_and_finishing_lose_no_ack(reader: TenReader) -> None:
    """First nothing more comes, then the rest is acked or given back, then it closes."""
    one, two, three = reader.deliver(1, 2, 3)
    await reader.subscription.stop()
    assert reader.consumer.cancelled_by_us
    reader.subscription.ack(two)
    reader.subscription.nack(three)
    reader.subscription.ack(one)
    await reader.subscription.finish()
    assert reader.consumer.told == [("nack", 3), ("upto", 2), ("sync", 0)]
    assert reader.consumer.closed
    assert reader.states[-1] == ("stopped", "")


async def test_a_broker_that_does_not_answer_holds_up_no_stop(
    reader: TenReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not acked comes again."""
    monkeypatch.setattr(module, "STOP_SECONDS", 0.01)
    monkeypatch.setattr(leaving, "STOP_SECONDS", 0.01)
    monkeypatch.setattr(leaving, "CLOSE_SECONDS", 0.01)
    consumer = reader.consumer
    consumer.silent = consumer.deaf = True
    await reader.subscription.stop()
    await reader.subscription.finish()
    assert reader.states[-1] == ("stopped", "")
    assert len(reader.world.wires) == 1


async def test_stopping_while_there_is_no_connection_is_easy(reader: TenReader) -> None:
    """Nothing comes afterwards."""
    reader.world.failures = [OSError("away")] * 1000
    reader.world.wire.closed("gone")
    await until(lambda: ("waiting", "gone") in reader.states)
    await reader.subscription.stop()
    await reader.subscription.finish()
    assert reader.states[-1] == ("stopped", "")


async def test_a_queue_that_dies_with_its_connection_is_made_anew_first() -> None:
    """As the live tail's is; a broker that refuses it is asked again."""
    reader = TenReader()
    steps: list[str] = []

    async def prepare(wire: object) -> None:
        steps.append(f"made before consumer {reader.world.consumes + 1}")
        if len(steps) == 1:
            raise ChannelClosed("no right yet", code=403)

    await reader.subscription.stop()
    reader.subscription = reader.subscribe(prefetch=10, prepare=prepare)
    reader.link.start()
    await reader.consuming()
    reader.world.wire.closed("gone")
    await reader.consuming(times=2)
    assert steps == [
        "made before consumer 1",
        "made before consumer 1",
        "made before consumer 2",
    ]
    assert reader.states[0][0] == "failed"
    await reader.subscription.stop()
    await reader.link.close()
