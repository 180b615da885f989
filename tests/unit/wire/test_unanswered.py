"""A queue or a broker that does not answer: nothing stays held, and other queues hardly notice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from rabbitjobs.wire import browsing, leaving
from rabbitjobs.wire import link as link_module
from rabbitjobs.wire import subscription as module
from tests.unit.wire.reader import Reader
from tests.unit.wire.scripted_wire import ScriptedWire, until


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "SHORT_LIFE_SECONDS", 0.01)
    monkeypatch.setattr(module, "SHORT_LIFE_SECONDS", 0.0)
    monkeypatch.setattr(module, "CONSUME_SECONDS", 0.05)
    monkeypatch.setattr(leaving, "STOP_SECONDS", 0.01)
    monkeypatch.setattr(leaving, "CLOSE_SECONDS", 0.01)


class Asker(Reader):
    """Of prefetch 3."""

    def __init__(self) -> None:
        super().__init__(prefetch=3)

    async def asks_apart(self) -> ScriptedWire:
        """Wait until it asks on one more connection that is not the link's."""
        before = self.wire
        await until(lambda: self.wire not in (before, self.link._newest))
        return self.wire

    @property
    def losses(self) -> int:
        """How often the connection that others share was lost."""
        return len(self.said("waiting"))


@pytest.fixture
def idle_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle consumer subscribes anew within no time."""
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)


@pytest.fixture
async def reader() -> AsyncIterator[Asker]:
    reader = Asker()
    reader.link.start()
    await reader.consuming()
    yield reader
    reader.world.answering.set()
    await reader.stop()


async def test_a_consumer_whose_last_round_trip_is_not_answered_is_closed(reader: Asker) -> None:
    """Open it would keep its messages, and a queue with a single active consumer stood still."""
    first = reader.world.wire.consumers[0]
    first.silent = True
    first.cancelled("the broker cancelled it")
    await reader.consuming(2)
    await until(lambda: first.closed)
    assert len(reader.world.wires) == 1


async def test_if_the_close_is_not_answered_either_the_connection_is_renewed(
    reader: Asker,
) -> None:
    first = reader.world.wire.consumers[0]
    first.silent = first.deaf = True
    first.cancelled("the broker cancelled it")
    await until(lambda: len(reader.world.wires) == 2)
    await reader.consuming(3)
    assert reader.world.wires[0].was_closed


@pytest.mark.usefixtures("idle_soon")
async def test_what_comes_while_an_idle_consumer_is_cancelled_is_still_settled(
    reader: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its channel stays until then: closed before, it gave the messages back as failed ones."""
    first = reader.world.wire.consumers[0]
    cancel = first.cancel

    async def late() -> None:
        for tag in (1, 2, 3):
            first.deliver(tag)
        reader.subscription._hand_over()
        reader.subscription.ack(reader.handed[1])
        monkeypatch.setattr(module, "LOOK_SECONDS", 60)
        await cancel()

    monkeypatch.setattr(first, "cancel", late)
    await reader.consuming(2)
    one, two, three = reader.handed
    assert first.told == [("ack", 2)]
    reader.world.wire.consumers[1].deliver(1)
    reader.subscription.ack(one)
    reader.subscription.ack(two)
    reader.subscription.nack(three)
    reader.subscription.nack(three)
    await until(lambda: first.closed)
    assert first.told == [("ack", 2), ("ack", 1), ("nack", 3), ("sync", 0)]
    assert reader.subscription.stale == 2
    assert reader.world.wire.consumers[1].told == []


@pytest.mark.parametrize("end", ["finish", "fail"])
async def test_what_is_never_settled_of_it_goes_back_in_the_end(
    reader: Asker, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """When the process ends, or when the consumer hears that what is out is lost."""
    monkeypatch.setattr(module, "LOOK_SECONDS", 60)
    first = reader.world.wire.consumers[0]
    first.deliver(1)
    wire = reader.link.wire
    assert wire is not None
    await reader.subscription._subscribe_again(wire)
    assert not first.closed
    if end == "finish":
        await reader.subscription.stop()
        await reader.subscription.finish()
    else:
        reader.world.wire.consumers[1].cancelled("queue deleted")
    await until(lambda: first.closed)
    reader.subscription.ack(reader.handed[0])
    assert ("ack", 1) not in first.told


@pytest.mark.usefixtures("idle_soon")
async def test_an_idle_consumer_whose_cancel_is_not_answered_renews_the_connection(
    reader: Asker,
) -> None:
    """A node without its majority answers that as little as a subscribing."""
    reader.world.wire.consumers[0].silent = True
    await until(lambda: len(reader.world.wires) == 2)
    await reader.consuming(2)
    assert ("waiting", "no answer to basic.cancel within 0.05 s") in reader.states


async def test_a_subscribing_that_nobody_answers_renews_the_connection_at_once(
    reader: Asker,
) -> None:
    """The node lives, and its majority is elsewhere."""
    reader.world.answering.clear()
    reader.world.wire.consumers[0].cancelled("away")
    await until(lambda: reader.losses)
    assert reader.states[-1] == ("waiting", "no answer to basic.consume within 0.05 s")
    reader.world.answering.set()
    await reader.consuming(2)
    assert reader.world.wires[0].was_closed and len(reader.world.wires) == 2


async def test_one_dead_queue_costs_the_others_their_connection_only_twice(
    reader: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From then on it is asked on connections of its own, until it answers there."""
    monkeypatch.setattr(browsing, "ENTER_SECONDS", 0.02)
    reader.world.answering.clear()
    reader.world.wire.consumers[0].cancelled("away")
    asking = await reader.asks_apart()
    shared = reader.link.wire
    await until(lambda: asking.was_closed)
    again = await reader.asks_apart()
    assert (reader.losses, reader.link.generation, reader.link.wire) == (2, 3, shared)
    assert reader.states[-1][0] == "failed"
    reader.world.answering.set()
    await reader.consuming(2)
    assert again.consumers[0].closed and again.was_closed
    assert reader.link.wire is shared and reader.losses == 2


async def test_a_consumer_that_is_answered_too_late_keeps_nothing(reader: Asker) -> None:
    """Nobody waits for it any more, and the connection may live on for as long as a drain takes."""
    reader.world.answering.clear()
    reader.world.wire.consumers[0].cancelled("away")
    await until(lambda: reader.world.consumes == 2)
    await reader.subscription.stop()
    reader.world.answering.set()
    await until(lambda: len(reader.world.wire.consumers) == 2)
    await until(lambda: reader.world.wire.consumers[1].closed)


async def test_making_its_queue_anew_has_a_deadline_too(reader: Asker) -> None:
    """As the live tail's; else the tail stood still with a connection that is open."""
    asked: list[object] = []

    async def prepare(wire: object) -> None:
        asked.append(wire)
        if len(asked) == 1:
            await asyncio.Event().wait()

    await reader.subscription.stop()
    reader.subscription = reader.subscribe(prefetch=3, prepare=prepare)
    await reader.consuming(2)
    assert asked == reader.world.wires and len(asked) == 2
