"""Browsing a queue: what was not taken out is handed back, in the order that does not count it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import pytest

from rabbitjobs.errors import ChannelClosed, ConnectionLost
from rabbitjobs.wire import browsing as module
from rabbitjobs.wire.browsing import Browser, browsing
from tests.unit.wire.scripted_wire import ScriptedConsumer, ScriptedWire, World


@pytest.fixture
def wire() -> ScriptedWire:
    """A connection."""
    return ScriptedWire(World())


def look(wire: ScriptedWire, idle: float = 1.0) -> AbstractAsyncContextManager[Browser]:
    """A look into the queue."""
    return browsing(wire, "q", prefetch=5, idle=idle)  # type: ignore[arg-type]


def filled(wire: ScriptedWire, *tags: int) -> ScriptedConsumer:
    """These messages arrive at the newest consumer."""
    consumer = wire.consumers[-1]
    for tag in tags:
        consumer.deliver(tag)
    return consumer


async def test_what_was_only_looked_at_is_handed_back(wire: ScriptedWire) -> None:
    """So is what nobody has looked at; what was taken out is gone."""
    async with look(wire) as browser:
        consumer = filled(wire, 1, 2, 3)
        first, second = await browser.next(), await browser.next()
        assert first is not None and second is not None
        assert (first.tag, second.tag) == (1, 2)
        browser.take_out(second)
    assert consumer.told == [("ack", 2), ("nack", 1), ("nack", 3), ("sync", 0)]
    assert (consumer.cancelled_by_us, consumer.closed) == (True, True)


async def test_a_look_that_fails_hands_back_too(wire: ScriptedWire) -> None:
    """The error comes out afterwards."""
    with pytest.raises(ZeroDivisionError):
        async with look(wire):
            consumer = filled(wire, 7)
            raise ZeroDivisionError
    assert consumer.told == [("nack", 7), ("sync", 0)]


async def test_a_queue_that_others_emptied_ends_the_look(wire: ScriptedWire) -> None:
    """Nobody waits for what does not come."""
    async with look(wire, 0.001) as browser:
        assert await browser.next() is None


@pytest.mark.parametrize("reason", ["the queue was deleted", ""])
async def test_a_look_that_the_broker_ends_is_an_error(wire: ScriptedWire, reason: str) -> None:
    """It says which queue, and why."""
    with pytest.raises(ConnectionLost, match=f"look into q, got: {reason or 'no reason'}"):
        async with look(wire) as browser:
            wire.consumers[-1].cancelled(reason)
            await browser.next()


async def test_a_broker_that_falls_silent_does_not_hold_the_command(
    wire: ScriptedWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is a deadline on leaving."""
    monkeypatch.setattr(module, "LEAVE_SECONDS", 0.001)
    with pytest.raises(ConnectionLost, match="got none"):
        async with look(wire):
            wire.consumers[-1].silent = True


async def test_a_queue_without_a_leader_does_not_hold_the_command(
    wire: ScriptedWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is a deadline on entering too."""
    monkeypatch.setattr(module, "ENTER_SECONDS", 0.001)
    wire.world.answering.clear()
    with pytest.raises(ConnectionLost, match=r"about q within 0\.001 s, got none; look"):
        async with look(wire):
            raise AssertionError("nothing to look into")


async def test_a_queue_that_is_not_there_is_refused(wire: ScriptedWire) -> None:
    """As the broker says it."""
    wire.world.refused_consumes = 1
    with pytest.raises(ChannelClosed, match="NOT_FOUND"):
        async with look(wire):
            raise AssertionError("nothing to look into")
