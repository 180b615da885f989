"""A consumer that the broker has forgotten is built anew; one that waits is left alone."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from rabbitjobs.wire import link as link_module
from rabbitjobs.wire import subscription as module
from tests.unit.wire.reader import Reader
from tests.unit.wire.scripted_wire import until

PREFETCH = 3


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "SHORT_LIFE_SECONDS", 0.01)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.02)


class Waiter(Reader):
    """Who begins at once."""

    def __init__(self, *, takes_turns: bool = False) -> None:
        super().__init__(prefetch=PREFETCH, takes_turns=takes_turns)
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


@pytest.fixture
async def reader() -> AsyncIterator[Waiter]:
    reader = Waiter()
    await reader.consuming()
    yield reader
    await reader.stop()


async def test_a_forgotten_consumer_is_built_anew_on_the_same_connection(reader: Waiter) -> None:
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
    reader: Waiter,
) -> None:
    reader.world.counts = (5, 1)
    await until(lambda: len(reader.world.wires) == 2)
    reader.world.counts = (0, 1)
    assert reader.stuck[1].endswith("by a new consumer either")
    await until(lambda: reader.world.wire.consumers)
    assert reader.world.wires[0].was_closed


async def test_a_consumer_that_got_something_meanwhile_has_its_second_chance_again(
    reader: Waiter,
) -> None:
    reader.world.counts = (5, 1)
    await reader.consuming(2)
    reader.world.wire.consumers[1].deliver(1)
    await reader.consuming(3)
    reader.world.counts = (0, 1)
    assert len(reader.world.wires) == 1


async def test_a_full_consumer_does_not_even_look(reader: Waiter) -> None:
    reader.world.counts = (5, 1)
    for tag in range(1, PREFETCH + 1):
        reader.world.wire.consumers[0].deliver(tag)
    await until(lambda: reader.handed)
    looks = reader.world.wire.looks
    assert not reader.subscription._hungry(PREFETCH)
    reader.subscription.ack(reader.handed[0])
    await reader.consuming(2)
    assert reader.world.wire.looks >= looks + 2


async def test_an_empty_queue_is_looked_at_and_nothing_else_happens(reader: Waiter) -> None:
    await reader.looked(module.LOOKS_UNTIL_ANEW - 1)
    assert reader.states == [("consuming", "")]


async def test_one_look_that_finds_something_proves_nothing(reader: Waiter) -> None:
    reader.world.counts = (1, 1)
    await reader.looked(1)
    reader.world.counts = (0, 1)
    await reader.looked(3)
    assert reader.stuck == []


async def test_whoever_waits_for_its_turn_is_not_stuck_unless_nobody_else_is_there() -> None:
    reader = Waiter(takes_turns=True)
    reader.world.counts = (5, 2)
    await reader.consuming()
    await reader.looked(4)
    assert reader.stuck == []
    reader.world.counts = (5, 1)
    await reader.consuming(2)
    await reader.stop()


async def test_a_consumer_that_stops_looks_no_more(reader: Waiter) -> None:
    await reader.subscription.stop()
    assert reader.subscription._watching is None


async def test_an_idle_consumer_subscribes_anew_now_and_then(reader: Waiter) -> None:
    """Only a queue's leader answers that: a node without its majority says that none is ready."""
    first = reader.world.wire.consumers[0]
    await reader.consuming(2)
    await until(lambda: first.closed)
    assert first.cancelled_by_us
    assert len(reader.world.wires) == 1
    assert reader.stuck == []
    reader.world.wire.consumers[1].deliver(1)
    await until(lambda: len(reader.handed) == 1)
