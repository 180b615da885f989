"""Store, publish confirmed, and only then return: in this order, for as long as it takes."""

from __future__ import annotations

import asyncio

import pytest
import tenacity
from hypothesis import given
from hypothesis import strategies as st

from rabbitjobs.backend.protocol import Record, Status
from rabbitjobs.ending import settle as settling
from rabbitjobs.ending.settle import settle
from rabbitjobs.ending.settlement import Settlement
from rabbitjobs.errors import QueueFull, SendUnknown, StoreOutdated, StoreRefused, StoreUnavailable
from rabbitjobs.message.properties import Properties
from rabbitjobs.wire.protocol import Outgoing

RECORD = Record(
    job_id="i",
    attempt=1,
    job="j",
    queue="q",
    status=Status.IN_REVIEW,
    enqueued=1.0,
    started=1.0,
    ended=1.0,
    keep=1.0,
)


def message(key: str) -> Outgoing:
    """A follow-up."""
    return Outgoing("x", key, Properties(), b"")


class World:
    """A store and a broker that fail as often as they are told to; every step is written down."""

    def __init__(self, *, known: bool = False, store_down: int = 0, refusals: int = 0) -> None:
        self.known = known
        self.store_down = store_down
        self.refusals = refusals
        self.steps: list[str] = []
        self.reasons: list[str] = []

    async def record(self, record: Record) -> bool:
        """See ``Recorder``."""
        if self.store_down:
            self.store_down -= 1
            raise StoreUnavailable("the store is down")
        self.steps.append("record")
        return not self.known

    async def recorded(self, job_id: str, attempt: int) -> bytes | None:
        """See ``Recorder``."""
        return None

    def running(self, record: Record) -> None:
        """See ``Recorder``."""

    def progress(self, job_id: str, progress: bytes) -> None:
        """See ``Recorder``."""

    async def publish(self, outgoing: Outgoing) -> None:
        """Refuse as often as told, by turns certainly and not."""
        if self.refusals:
            self.refusals -= 1
            raise (QueueFull if self.refusals % 2 else SendUnknown)("not now")
        self.steps.append(outgoing.routing_key)

    async def settle(self, plan: Settlement, *, stored: bool = True) -> bool:
        """Carry it out in this world."""
        return await settle(
            plan,
            recorder=self if stored else None,
            publish=self.publish,
            delayed=self.reasons.append,
        )


def plan(*keys: str, record: Record | None = RECORD) -> Settlement:
    """A settlement with these follow-ups."""
    return Settlement(
        status=Status.IN_REVIEW, record=record, sends=tuple(message(key) for key in keys)
    )


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The backoff's pauses take no time here."""
    monkeypatch.setattr(tenacity, "wait_random_exponential", lambda **_: lambda _: 0.0)


async def test_the_record_comes_first_then_the_messages_in_their_order() -> None:
    """Nothing is published that is not recorded."""
    world = World()
    assert await world.settle(plan("notify", "review"))
    assert world.steps == ["record", "notify", "review"]
    assert world.reasons == []


async def test_a_store_that_is_not_migrated_yet_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A deploy that migrates last: nobody's job comes before a person for that."""
    world, outdated = World(), [True] * 5
    record = world.record

    async def behind(one: Record) -> bool:
        if outdated:
            outdated.pop()
            raise StoreOutdated("run: rabbitjobs store migrate")
        return await record(one)

    monkeypatch.setattr(world, "record", behind)
    assert await world.settle(plan("review"))
    assert world.steps == ["record", "review"]
    assert len(world.reasons) == 5


@pytest.mark.parametrize(("faults", "ends"), [(2, True), (3, False)])
async def test_a_record_that_is_refused_is_tried_a_few_times_and_then_given_up(
    monkeypatch: pytest.MonkeyPatch, faults: int, ends: bool
) -> None:
    """Nothing is sent for what is not recorded; the reason is the store's, in one line."""
    monkeypatch.setattr(settling, "RECORD_PAUSE_SECONDS", 0.0)
    world, left = World(), [True] * faults
    record = world.record

    async def refused(one: Record) -> bool:
        if left:
            left.pop()
            raise ValueError("not this one\n[parameters: secret]")
        return await record(one)

    monkeypatch.setattr(world, "record", refused)
    if ends:
        assert await world.settle(plan("review"))
        assert world.steps == ["record", "review"]
        assert world.reasons == ["ValueError: not this one"] * 2
        return
    with pytest.raises(StoreRefused) as error:
        await world.settle(plan("review"))
    assert error.value.text == "ValueError: not this one"
    assert world.steps == []


async def test_an_attempt_that_was_recorded_before_sends_nothing() -> None:
    """Another run's decision holds."""
    world = World(known=True)
    assert not await world.settle(plan("review"))
    assert world.steps == ["record"]


async def test_without_a_store_or_a_record_only_messages_are_sent() -> None:
    """No store is set, or a redelivery repeats its sends."""
    for stored, record in ((False, RECORD), (True, None)):
        world = World()
        assert await world.settle(plan("review", record=record), stored=stored)
        assert world.steps == ["review"]


async def test_a_store_that_is_down_is_waited_for() -> None:
    """Nothing is sent meanwhile, and somebody hears why."""
    world = World(store_down=3)
    assert await world.settle(plan("review"))
    assert world.steps == ["record", "review"]
    assert world.reasons
    assert set(world.reasons) == {"the store is down"}


async def test_a_publish_that_is_refused_is_sent_until_it_is_accepted() -> None:
    """The record is not written again, and no message is left out."""
    world = World(refusals=4)
    assert await world.settle(plan("notify", "review"))
    assert world.steps == ["record", "notify", "review"]
    assert set(world.reasons) == {"not now"}


async def test_another_error_is_not_waited_out() -> None:
    """A fault of ours comes out: no ack."""

    async def broken(outgoing: Outgoing) -> None:
        raise RuntimeError("a fault")

    with pytest.raises(RuntimeError):
        await settle(plan("review"), recorder=World(), publish=broken, delayed=lambda _: None)


async def test_cancelling_stops_it_between_two_tries() -> None:
    """A stopping worker leaves the message to the broker."""
    world = World(store_down=10**9)
    heard = asyncio.Event()
    running = asyncio.create_task(
        settle(plan("r"), recorder=world, publish=world.publish, delayed=lambda _: heard.set())
    )
    await heard.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert world.steps == []


@given(st.booleans(), st.integers(0, 3), st.integers(0, 3), st.lists(st.text("abc"), max_size=3))
def test_whatever_fails_meanwhile_every_step_is_done_once_and_in_order(
    known: bool, store_down: int, refusals: int, keys: list[str]
) -> None:
    """It returns only when all is durable."""
    world = World(known=known, store_down=store_down, refusals=refusals)
    assert asyncio.run(world.settle(plan(*keys))) is not known
    assert world.steps == ["record", *([] if known else keys)]
