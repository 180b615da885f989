"""Publishing with a deadline: exactly one outcome for each message, and an honest one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from rabbitjobs.errors import AccessRefused
from rabbitjobs.message.properties import Properties
from rabbitjobs.wire import link as link_module
from rabbitjobs.wire import outbound as module
from rabbitjobs.wire.message_ids import fresh_message_id
from rabbitjobs.wire.outbound import Outbound
from rabbitjobs.wire.protocol import CONFIRMED, Confirmed, Outcome, Outgoing, Rejected, Unknown
from tests.unit.wire.scripted_wire import World, until

NACKED = Rejected("nacked", "full")
REFUSED = Rejected("refused", "ACCESS_REFUSED", 403)
LOST = Unknown("the connection ended")
NEIGHBOUR = Unknown("the channel was closed", channel=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines are looked at often."""
    monkeypatch.setattr(module, "SWEEP_SECONDS", 0.005)
    monkeypatch.setattr(link_module, "SHORT_LIFE_SECONDS", 0.01)


class Desk:
    """Publishes over a link of scripted wires and keeps the outcomes."""

    def __init__(self) -> None:
        self.world = World()
        self.link = self.world.link()
        self.outbound = Outbound(self.link)
        self.outcomes: dict[str, list[Outcome]] = {}

    def publish(self, *keys: str, timeout: float = 5.0) -> None:
        """Publish a message for each key."""
        for key in keys:
            self.outcomes[key] = []
            message = Outgoing("x", key, Properties(), key.encode())
            self.outbound.publish(message, timeout, self.outcomes[key].append)

    async def outcome(self, key: str) -> Outcome:
        """The one outcome of a message."""
        await until(lambda: self.outcomes[key])
        await asyncio.sleep(0.02)
        (outcome,) = self.outcomes[key]
        return outcome

    def flying(self) -> list[str]:
        """What is written on the newest wire and not answered."""
        return [message.routing_key for message, _ in self.world.wire.flying]

    async def renewed(self) -> None:
        """Lose the connection and get another."""
        generation = self.link.generation
        wire = self.world.wire
        for _ in range(len(wire.flying)):
            wire.answer(LOST)
        wire.closed("gone")
        await until(lambda: self.link.generation == generation + 1)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """Connected."""
    desk = Desk()
    desk.link.start()
    await until(lambda: desk.link.generation == 1)
    yield desk
    await desk.link.close()
    desk.outbound.close()


async def test_a_confirm_is_the_outcome(desk: Desk) -> None:
    """Each message has a wire id of its own."""
    desk.publish("a", "b")
    first = desk.world.wire.answer(CONFIRMED)
    second = desk.world.wire.answer(CONFIRMED)
    assert await desk.outcome("a") == await desk.outcome("b") == CONFIRMED
    assert first.properties.message_id != second.properties.message_id
    assert desk.outbound.idle


@pytest.mark.parametrize("rejected", [NACKED, REFUSED, Rejected("unroutable", "no queue", 312)])
async def test_a_rejection_is_the_outcome(desk: Desk, rejected: Rejected) -> None:
    """It is certain that nothing is stored; nothing is repeated."""
    desk.publish("a")
    desk.world.wire.answer(rejected)
    assert await desk.outcome("a") == rejected
    assert desk.flying() == []


async def test_a_wire_that_fails_at_a_message_leaves_nobody_waiting(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it was written is unknown: that is the outcome at the deadline."""

    def fail(*_: object) -> None:
        raise RuntimeError("a fault of the client")

    monkeypatch.setattr(desk.world.wire, "publish", fail)
    with pytest.raises(RuntimeError):
        desk.publish("a", timeout=0.02)
    assert isinstance(await desk.outcome("a"), Unknown)


async def test_a_caller_that_fails_costs_nobody_else_an_outcome(desk: Desk) -> None:
    """Neither at a deadline nor at a confirm; it is said."""
    said: list[str] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: said.append(str(context["exception"]))
    )

    def fail(outcome: Outcome) -> None:
        raise RuntimeError(type(outcome).__name__)

    message = Outgoing("x", "k", Properties(), b"")
    desk.outbound.publish(message, 5.0, fail)
    desk.world.wire.answer(CONFIRMED)
    desk.outbound.publish(message, 0.02, fail)
    desk.publish("late", timeout=0.02)
    assert isinstance(await desk.outcome("late"), Unknown)
    desk.publish("later", timeout=0.02)
    assert isinstance(await desk.outcome("later"), Unknown)
    assert said == ["Confirmed", "Unknown"]


async def test_a_wire_that_fails_at_a_suspect_stops_no_deadlines(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs out of time makes room for the suspect, and writing that fails."""
    said: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
    desk.publish("slow", timeout=0.03)
    desk.publish("suspect")
    desk.world.wire.answer(NEIGHBOUR, 1)
    with monkeypatch.context() as broken:
        broken.setattr(desk.world.wire, "publish", None)
        assert isinstance(await desk.outcome("slow"), Unknown)
    desk.publish("after", timeout=0.02)
    assert isinstance(await desk.outcome("after"), Unknown)
    assert len(said) == 1


async def test_what_was_never_written_waits_for_a_connection() -> None:
    """And is sent when there is one."""
    desk = Desk()
    desk.publish("a")
    desk.link.start()
    await until(lambda: desk.link.generation == 1)
    assert desk.flying() == ["a"]
    desk.world.wire.answer(CONFIRMED)
    assert await desk.outcome("a") == CONFIRMED
    await desk.link.close()


async def test_without_a_connection_it_is_certain_that_nothing_was_written() -> None:
    """At the deadline, with the reason."""
    desk = Desk()
    desk.publish("a", timeout=0.02)
    outcome = await desk.outcome("a")
    assert isinstance(outcome, Rejected)
    assert (outcome.reason, outcome.text) == ("unavailable", "not connected yet")


async def test_an_unknown_publish_is_repeated_under_a_new_wire_id(desk: Desk) -> None:
    """Two publishes with one message id would swap their results."""
    desk.publish("a")
    first = desk.world.wire.flying[0][0].properties.message_id
    await desk.renewed()
    again, _ = desk.world.wire.flying[0]
    assert again.body == b"a"
    assert again.properties.message_id not in (None, first)
    desk.world.wire.answer(CONFIRMED)
    assert await desk.outcome("a") == CONFIRMED


async def test_a_message_that_may_be_stored_is_unknown_at_its_deadline(desk: Desk) -> None:
    """Even if it waits for a connection by then."""
    desk.publish("a", timeout=0.05)
    wire = desk.world.wire
    desk.world.failures = [OSError("away")] * 1000
    wire.answer(LOST)
    wire.closed("gone")
    assert isinstance(await desk.outcome("a"), Unknown)


@pytest.mark.parametrize("rejected", [NACKED, REFUSED])
async def test_a_rejection_after_a_lost_try_is_not_certain(desk: Desk, rejected: Rejected) -> None:
    """The first try may be stored: to say "nothing is stored" would be a lie."""
    desk.publish("a")
    await desk.renewed()
    desk.world.wire.answer(rejected)
    outcome = await desk.outcome("a")
    assert isinstance(outcome, Unknown)
    assert rejected.text in outcome.text


async def test_what_was_held_by_the_wire_and_never_left_goes_on_waiting(desk: Desk) -> None:
    """Its rejection is certain then."""
    desk.publish("a", timeout=0.05)
    wire = desk.world.wire
    desk.world.failures = [OSError("away")] * 1000
    wire.answer(Rejected("unavailable", "the connection ended"))
    wire.closed("gone")
    outcome = await desk.outcome("a")
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "unavailable"


async def test_the_bad_message_is_found_by_being_alone(desk: Desk) -> None:
    """Its neighbours are sent again one at a time; new ones wait until the suspects are through."""
    desk.publish("good", "bad", "fine")
    wire = desk.world.wire
    for _ in range(3):
        wire.answer(NEIGHBOUR)
    desk.publish("later")
    assert desk.flying() == ["good"]
    wire.answer(CONFIRMED)
    assert desk.flying() == ["bad"]
    wire.answer(REFUSED)
    assert desk.flying() == ["fine"]
    wire.answer(CONFIRMED)
    assert desk.flying() == ["later"]
    wire.answer(CONFIRMED)
    assert await desk.outcome("bad") == REFUSED
    for key in ("good", "fine", "later"):
        assert await desk.outcome(key) == CONFIRMED


async def test_an_alarm_holds_back_what_comes(desk: Desk) -> None:
    """The broker would not read it; it is sent when the alarm is over."""
    desk.world.wire.blocked(True)
    desk.publish("a")
    assert desk.flying() == []
    desk.world.wire.blocked(False)
    assert desk.flying() == ["a"]
    desk.world.wire.answer(CONFIRMED)
    assert await desk.outcome("a") == CONFIRMED


@pytest.mark.parametrize("suspect", [False, True])
async def test_any_number_of_messages_may_be_refused_on_the_spot(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, suspect: bool
) -> None:
    """As those that no frame can carry: one after another, not one inside the other."""
    wire = desk.world.wire
    bad = [f"bad {number}" for number in range(1000)]
    if suspect:
        desk.publish(*bad)
        for _ in bad[1:]:
            wire.answer(NEIGHBOUR)
    else:
        wire.blocked(True)
        desk.publish(*bad)
    desk.publish("good")
    publish = wire.publish

    def refuse(message: Outgoing, done: Callable[[Outcome], None]) -> None:
        if message.routing_key == "good":
            publish(message, done)
        else:
            done(REFUSED)

    monkeypatch.setattr(wire, "publish", refuse)
    if suspect:
        wire.answer(NEIGHBOUR)
    else:
        wire.blocked(False)
    assert all(desk.outcomes[key] == [REFUSED] for key in bad)
    assert desk.flying() == ["good"]
    wire.answer(CONFIRMED)
    assert await desk.outcome("good") == CONFIRMED


async def test_an_alarm_that_lasts_is_named(desk: Desk) -> None:
    """And it is certain that nothing was written."""
    desk.world.wire.blocked(True)
    desk.publish("a", timeout=0.02)
    outcome = await desk.outcome("a")
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "blocked"
    assert "memory or disk" in outcome.text
    assert desk.link.generation == 1


async def test_what_was_written_before_the_alarm_was_told_names_it_too(desk: Desk) -> None:
    """The broker tells an alarm to who publishes: the first message is out by then."""
    desk.publish("a", timeout=0.05)
    desk.world.wire.alarm = "low on disk"
    desk.world.wire.blocked(True)
    outcome = await desk.outcome("a")
    assert isinstance(outcome, Unknown)
    assert "an alarm of the broker blocks publishing (low on disk)" in outcome.text


async def test_a_refused_login_is_its_own_reason() -> None:
    """It is not called an outage."""
    desk = Desk()
    desk.world.failures += [AccessRefused("got: ACCESS_REFUSED")] * 1000
    desk.link.start()
    desk.publish("a", timeout=0.05)
    outcome = await desk.outcome("a")
    assert outcome == Rejected("access", "got: ACCESS_REFUSED")
    await desk.link.close()


async def test_a_short_deadline_does_not_cut_off_everybody_else(desk: Desk) -> None:
    """The caller hears Unknown; the connection stays, and a late confirm is nobody's."""
    desk.publish("hasty", timeout=0.02)
    desk.publish("patient")
    assert isinstance(await desk.outcome("hasty"), Unknown)
    assert desk.link.generation == 1
    desk.world.wire.answer(CONFIRMED)
    desk.world.wire.answer(CONFIRMED)
    assert await desk.outcome("patient") == CONFIRMED
    assert len(desk.outcomes["hasty"]) == 1


async def test_a_connection_that_confirms_nothing_is_given_up(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a silence, not at once: what waits on it is sent over the next."""
    monkeypatch.setattr(module, "SILENT_SECONDS", 0.05)
    desk.publish("a", timeout=0.06)
    desk.publish("b")
    silent = desk.world.wire
    assert isinstance(await desk.outcome("a"), Unknown)
    await until(lambda: desk.link.generation == 2)
    while silent.flying:
        silent.answer(LOST)
    assert desk.flying() == ["b"]
    desk.world.wire.answer(CONFIRMED)
    assert await desk.outcome("b") == CONFIRMED


async def test_short_deadlines_alone_find_a_dead_connection_too(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The silence counts from the first publish that got no answer, not from the newest."""
    monkeypatch.setattr(module, "SILENT_SECONDS", 0.3)
    for turn in range(100):
        desk.publish(f"hasty {turn}", timeout=0.01)
        assert isinstance(await desk.outcome(f"hasty {turn}"), Unknown)
        if desk.link.generation == 2:
            break
    assert desk.link.generation == 2


async def test_suspects_go_on_when_the_last_in_flight_runs_out_of_time(desk: Desk) -> None:
    """Nobody waits for a message that nobody waits for."""
    desk.publish("slow", timeout=0.03)
    desk.publish("suspect")
    desk.world.wire.answer(NEIGHBOUR, 1)
    assert desk.flying() == ["slow"]
    assert isinstance(await desk.outcome("slow"), Unknown)
    assert desk.flying() == ["slow", "suspect"]
    desk.world.wire.answer(CONFIRMED, 1)
    assert await desk.outcome("suspect") == CONFIRMED


async def test_closing_tells_everybody_who_still_waits(desk: Desk) -> None:
    """Unknown for what was written, certain for what was not, and at once for what comes after."""
    desk.publish("written")
    desk.outbound.link_down("stopped")
    desk.publish("waiting")
    desk.outbound.close()
    desk.publish("after")
    assert isinstance(await desk.outcome("written"), Unknown)
    for key in ("waiting", "after"):
        outcome = await desk.outcome(key)
        assert isinstance(outcome, Rejected)
        assert outcome.reason == "unavailable"
    desk.world.wire.answer(CONFIRMED)
    assert len(desk.outcomes["written"]) == 1


async def test_events_are_sent_or_dropped(desk: Desk) -> None:
    """Nobody waits for their outcome."""
    event = Outgoing("shop.events", "k", Properties(), b"", mandatory=False)
    desk.outbound.fire(event)
    assert desk.flying() == ["k"]
    desk.world.wire.answer(Rejected("unroutable", "nobody listens"))
    desk.outbound.link_down("gone")
    desk.outbound.fire(event)
    assert desk.outbound.idle


def test_wire_ids_are_never_the_same() -> None:
    """In one process; forks are tested on a real broker."""
    ids = {fresh_message_id() for _ in range(10_000)}
    assert len(ids) == 10_000
    assert isinstance(CONFIRMED, Confirmed)
