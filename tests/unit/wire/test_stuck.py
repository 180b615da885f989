"""A consumer that the broker has forgotten is built anew; one that waits is left alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from rabbitjobs.wire import link as link_module
from rabbitjobs.wire import subscription as module
from rabbitjobs.wire.subscription import Handed, Subscription
from tests.unit.wire.scripted_wire import World, until

PREFETCH = 3


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "SHORT_LIFE_SECONDS", 0.01)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.02)


class Reader:
    """Somebody who consumes."""

    def __init__(self, *, takes_turns: bool = False) -> None:
        self.world = World()
        self.link = self.world.link()
        self.handed: list[Handed] = []
        self.states: list[tuple[str, str]] = []
        self.subscription = Subscription(
            self.link,
            "shop.q.emails",
            prefetch=PREFETCH,
            deliver=self.handed.extend,
            changed=lambda state, reason: self.states.append((state, reason)),
            takes_turns=takes_turns,
        )
        self.link.start()

    async def looked(self, times: int) -> None:
        """Wait for so many more looks at the queue."""
        wire = self.world.wire
        goal = wire.looks + times
        await until(lambda: wire.looks >= goal)

    @property
    def stuck(self) -> list[str]:
        """What was said of being stuck."""
        return [reason for _, reason in self.states if reason.startswith("stuck")]

    async def consuming(self, times: int = 1) -> None:
        """Wait until it consumes, for the so-manieth time."""
        await until(lambda: [state for state, _ in self.states].count("consuming") == times)

    async def stop(self) -> None:
        """End it."""
        await self.subscription.stop()
        await self.subscription.finish()
        await self.link.close()


@pytest.fixture
async def reader() -> AsyncIterator[Reader]:
    reader = Reader()
    await reader.consuming()
    yield reader
    await reader.stop()


async def test_a_forgotten_consumer_is_built_anew_on_the_same_connection(reader: Reader) -> None:
    first = reader.world.wire.consumers[0]
    reader.world.counts = (5, 1)
    await reader.consuming(2)
    reader.world.counts = (0, 1)
    assert first.closed
    assert len(reader.world.wires) == 1
    assert reader.stuck == [
        "stuck: 5 ready, 3 of 3 slots free, and nothing delivered for 0.04 s; "
        "the consumer is built anew"
    ]
    reader.world.wire.consumers[1].deliver(1)
    await until(lambda: len(reader.handed) == 1)


async def test_if_a_new_consumer_gets_nothing_either_the_connection_is_renewed(
    reader: Reader,
) -> None:
    reader.world.counts = (5, 1)
    await until(lambda: len(reader.world.wires) == 2)
    reader.world.counts = (0, 1)
    assert reader.stuck[1].endswith("by a new consumer either")
    await until(lambda: reader.world.wire.consumers)
    assert reader.world.wires[0].was_closed


async def test_a_consumer_that_got_something_meanwhile_has_its_second_chance_again(
    reader: Reader,
) -> None:
    reader.world.counts = (5, 1)
    await reader.consuming(2)
    reader.world.wire.consumers[1].deliver(1)
    await reader.consuming(3)
    reader.world.counts = (0, 1)
    assert len(reader.world.wires) == 1


async def test_a_full_consumer_does_not_even_look(reader: Reader) -> None:
    reader.world.counts = (5, 1)
    for tag in range(1, PREFETCH + 1):
        reader.world.wire.consumers[0].deliver(tag)
    await until(lambda: reader.handed)
    looks = reader.world.wire.looks
    assert not reader.subscription._hungry(PREFETCH)
    reader.subscription.ack(reader.handed[0])
    await reader.consuming(2)
    assert reader.world.wire.looks >= looks + 2


async def test_an_empty_queue_is_looked_at_and_nothing_else_happens(reader: Reader) -> None:
    await reader.looked(module.LOOKS_UNTIL_ANEW - 1)
    assert reader.states == [("consuming", "")]


async def test_one_look_that_finds_something_proves_nothing(reader: Reader) -> None:
    reader.world.counts = (1, 1)
    await reader.looked(1)
    reader.world.counts = (0, 1)
    await reader.looked(3)
    assert reader.stuck == []


async def test_whoever_waits_for_its_turn_is_not_stuck_unless_nobody_else_is_there() -> None:
    reader = Reader(takes_turns=True)
    reader.world.counts = (5, 2)
    await reader.consuming()
    await reader.looked(4)
    assert reader.stuck == []
    reader.world.counts = (5, 1)
    await reader.consuming(2)
    await reader.stop()


async def test_a_consumer_that_stops_looks_no_more(reader: Reader) -> None:
    await reader.subscription.stop()
    assert reader.subscription._watching is None


async def test_an_idle_consumer_subscribes_anew_now_and_then(reader: Reader) -> None:
    """Only a queue's leader answers that: a node without its majority says that none is ready."""
    first = reader.world.wire.consumers[0]
    await reader.consuming(2)
    assert first.closed
    assert len(reader.world.wires) == 1
    assert reader.stuck == []
    reader.world.wire.consumers[1].deliver(1)
    await until(lambda: len(reader.handed) == 1)


async def test_a_subscribing_that_nobody_answers_renews_the_connection(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node lives, and its majority is elsewhere."""
    monkeypatch.setattr(module, "CONSUME_SECONDS", 0.05)
    first = reader.world.wire

    async def silence(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(first, "consume", silence)
    await until(lambda: len(reader.world.wires) == 2)
    await reader.consuming(2)
    assert ("waiting", "no answer to basic.consume within 0.05 s") in reader.states
    assert first.was_closed
