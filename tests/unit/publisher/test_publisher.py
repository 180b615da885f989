"""Sending over a broker in memory: every refusal its own error, every call one outcome."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rabbitjobs.broker.url import Address
from rabbitjobs.broker.version import from_version
from rabbitjobs.clock import now
from rabbitjobs.errors import (
    ArgumentsRefused,
    BrokerBlocked,
    BrokerError,
    BrokerUnavailable,
    QueueFull,
    SendError,
    SendRejected,
    SendUnknown,
    StoreError,
    SyncInAsync,
    TooLarge,
    Unroutable,
)
from rabbitjobs.job.call import Call
from rabbitjobs.job.definition import Definition, Job
from rabbitjobs.message.codec import decode
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.message.properties import Properties
from rabbitjobs.publisher.prepare import MAX_BODY_BYTES, envelope_of, outgoing_of
from rabbitjobs.publisher.publisher import Publisher
from rabbitjobs.testing.memory import declare_plan
from rabbitjobs.topology.model import QueueSpec, TopologySpec, default_retry
from rabbitjobs.topology.plan import compile_plan
from rabbitjobs.wire.memory import MemoryBroker, MemoryWire
from rabbitjobs.wire.protocol import Outgoing
from rabbitjobs.wire.session import Session

SPEC = TopologySpec(
    namespace="shop",
    queues={
        "emails": QueueSpec(name="emails", priorities=("low", "normal", "high")),
        "short": QueueSpec(name="short", max_length=1),
    },
    retry={"default": default_retry()},
)


class Keys:
    """Unique keys in a dictionary."""

    def __init__(self) -> None:
        self.held: dict[str, str] = {}
        self.kept: set[str] = set()
        self.seconds = 0.0

    def claim(self, envelope: Envelope, seconds: float) -> str | None:
        """See ``UniqueKeys``."""
        self.seconds = seconds
        holder = self.held.setdefault(str(envelope.unique), envelope.id)
        return None if holder == envelope.id else holder

    def keep(self, envelope: Envelope) -> None:
        """See ``UniqueKeys``."""
        self.kept.add(str(envelope.unique))

    def release(self, envelope: Envelope) -> None:
        """See ``UniqueKeys``."""
        if self.held.get(str(envelope.unique)) == envelope.id:
            del self.held[str(envelope.unique)]


class Shop:
    """A publisher, its broker and its job."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()
        declare_plan(self.broker, compile_plan(SPEC, from_version(self.broker.version)))
        self.session = Session(lambda: MemoryWire(self.broker), [Address()], name="shop")
        self.keys: Keys | None = Keys()
        self.outbox: list[tuple[Any, Envelope]] = []
        self.refused_urls: list[str] = []
        self.publisher = Publisher(
            spec=lambda: SPEC,
            session=lambda: self.session,
            results=lambda: None,
            unique=lambda: self.keys,
            outbox=lambda tx, envelope, _undone: self.outbox.append((tx, envelope)),
            deadline=lambda: 5.0,
            app_id="web",
            check_on_done=self.refused_urls.append,
        )
        self.job: Job[..., Any] = self.remote("emails")

    def remote(self, queue: str) -> Job[..., Any]:
        """A job for a queue."""
        return Job(Definition(name="mail", queue=queue), self.publisher)

    def waiting(self, queue: str = "emails") -> list[Envelope]:
        """What stands in a work queue."""
        return [
            decode(entry.properties, entry.body, queue=queue)
            for entry in self.broker.messages(f"shop.q.{queue}")
        ]


@pytest.fixture
def shop() -> Iterator[Shop]:
    """Connected."""
    shop = Shop()
    yield shop
    shop.session.close()


def test_a_sent_job_is_stored_when_send_returns(shop: Shop) -> None:
    """With its id, its queue and its arguments."""
    handle = shop.job.send(1, to="a")
    (envelope,) = shop.waiting()
    assert (envelope.id, envelope.job, envelope.attempt) == (handle.id, "mail", 1)
    assert envelope.body == b'{"args":[1],"kwargs":{"to":"a"}}'
    assert (handle.job, handle.queue) == ("mail", "emails")
    assert envelope.app_id == "web"
    assert abs(envelope.enqueued - now()) < 60


async def test_asend_is_its_twin(shop: Shop) -> None:
    """Many at once, too."""
    handles = await asyncio.gather(*(shop.job.asend(number) for number in range(50)))
    assert {one.id for one in shop.waiting()} == {handle.id for handle in handles}


async def test_a_blocking_send_in_a_loop_is_refused(shop: Shop) -> None:
    """It would stop everything else in that loop."""
    with pytest.raises(SyncInAsync, match="asend"):
        shop.job.send(1)
    with pytest.raises(SyncInAsync, match="asend_many"):
        shop.publisher.send_many([])
    (sent,) = await shop.publisher.asend_many([shop.job.call(1)])
    assert sent.ok


def test_options_travel_in_the_envelope(shop: Shop) -> None:
    """Priority by name, expiry as a moment, the id as given."""
    until = datetime.now(UTC) + timedelta(hours=1)
    shop.job.options(id="mine", priority="high", expires=until, on_done="https://a.example/x").send(
        1
    )
    (envelope,) = shop.waiting()
    assert envelope.id == "mine"
    assert envelope.priority == 5
    assert envelope.expires is not None
    assert abs(envelope.expires - until.timestamp()) < 0.01
    assert envelope.on_done == "https://a.example/x"
    assert shop.refused_urls == ["https://a.example/x"]


def test_what_is_due_later_waits_on_the_broker(shop: Shop) -> None:
    """By a delay or a moment; a moment in the past is now."""
    shop.job.options(delay=timedelta(seconds=30)).send(1)
    shop.job.options(at=datetime.now(UTC) + timedelta(seconds=90)).send(2)
    shop.job.options(at=datetime.now(UTC) - timedelta(days=1)).send(3)
    assert [one.body for one in shop.waiting()] == [b'{"args":[3],"kwargs":{}}']
    shop.broker.advance(31)
    assert len(shop.waiting()) == 2
    shop.broker.advance(61)
    assert len(shop.waiting()) == 3


def expect(kind: type[SendError], job: Job[..., Any], *args: Any) -> SendError:
    """Send, and hear of a refusal that names job, queue and id."""
    with pytest.raises(kind) as refused:
        job.send(*args)
    error = refused.value
    assert type(error) is kind
    assert error.job == "mail"
    assert error.queue
    return error


def test_a_queue_that_the_topology_lacks_is_refused_before_anything_is_sent(shop: Shop) -> None:
    """The ladder would confirm it and lose it."""
    with pytest.raises(Unroutable, match="emails, short"):
        shop.job.options(queue="nowhere", unique="k").send(1)
    with pytest.raises(Unroutable):
        shop.job.options(queue="nowhere", delay=timedelta(seconds=5)).send(1)
    assert shop.keys is not None
    assert shop.keys.held == {}


def test_a_queue_that_is_not_bound_is_unroutable(shop: Shop) -> None:
    """Mandatory, always."""
    shop.broker.delete_queue("shop.q.emails")
    assert "topology apply" in str(expect(Unroutable, shop.job, 1))


def test_a_missing_exchange_is_unroutable_too(shop: Shop) -> None:
    """The topology was never applied."""
    shop.broker.delete_exchange("shop.jobs")
    expect(Unroutable, shop.job, 1)
    declare_plan(shop.broker, compile_plan(SPEC, from_version(shop.broker.version)))
    shop.job.send(2)


def test_a_full_queue_says_so(shop: Shop) -> None:
    """And frees the unique key."""
    short = shop.remote("short")
    short.send(1)
    expect(QueueFull, short.options(unique="k"), 2)
    assert shop.keys is not None
    assert shop.keys.held == {}


def test_too_large_is_refused_before_anything_is_sent(shop: Shop) -> None:
    """The broker would close the channel on it, with everybody else's publishes."""
    error = expect(TooLarge, shop.job, "x" * MAX_BODY_BYTES)
    assert error.job_id
    assert shop.waiting() == []


def test_an_alarm_that_lasts_is_its_own_error(shop: Shop) -> None:
    """Nothing was written."""
    shop.job.send(0)
    shop.broker.block()
    expect(BrokerBlocked, shop.job.options(timeout=0.2), 1)
    shop.broker.unblock()
    shop.job.send(2)


def test_a_broker_that_is_away_is_its_own_error(shop: Shop) -> None:
    """And it is found again by itself."""
    shop.broker.stop()
    expect(BrokerUnavailable, shop.job.options(timeout=0.3), 1)
    shop.broker.start()
    shop.job.send(2)
    assert len(shop.waiting()) == 1


def test_no_confirm_in_time_is_unknown_and_the_claimed_key_runs_out(shop: Shop) -> None:
    """It may be stored: the same id may be sent again; and if it is not, the key frees itself."""
    shop.job.send(0)
    shop.broker.confirming = False
    error = expect(SendUnknown, shop.job.options(unique="k", id="mine", timeout=0.2), 1)
    assert error.job_id == "mine"
    assert shop.keys is not None
    assert shop.keys.held == {"mail:k": "mine"}
    assert shop.keys.kept == set()
    assert 0 < shop.keys.seconds < 120


async def test_the_async_twin_says_the_same(shop: Shop) -> None:
    """And frees a unique key in the same cases."""
    shop.broker.delete_queue("shop.q.emails")
    with pytest.raises(Unroutable):
        await shop.job.options(unique="k").asend(1)
    assert shop.keys is not None
    assert shop.keys.held == {}


def test_a_send_that_never_happened_holds_no_key(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no broker to be found: the next send must not get the handle of nothing."""

    def nowhere() -> Session:
        raise BrokerError("expected a broker URL, got none")

    monkeypatch.setattr(shop.publisher, "_session", nowhere)
    with pytest.raises(BrokerError):
        shop.job.options(unique="k").send(1)
    assert shop.keys is not None
    assert shop.keys.held == {}


async def test_a_unique_key_gives_the_handle_of_its_holder(shop: Shop) -> None:
    """While that job has not ended; sending with the same id goes on."""
    first = await shop.job.options(unique="k").asend(1)
    assert shop.keys is not None
    assert shop.keys.kept == {"mail:k"}
    second = await shop.job.options(unique="k").asend(2)
    third = await asyncio.to_thread(shop.job.options(unique="k").send, 3)
    assert first.id == second.id == third.id
    again = await shop.job.options(unique="k", id=first.id).asend(1)
    assert again.id == first.id
    assert len(shop.waiting()) == 2


def test_unique_needs_a_store(shop: Shop) -> None:
    """It is refused without one, not forgotten."""
    shop.keys = None
    with pytest.raises(StoreError, match="store"):
        shop.job.options(unique="k").send(1)
    assert shop.waiting() == []


async def test_a_send_in_a_transaction_goes_to_the_outbox(shop: Shop) -> None:
    """Nothing reaches the broker before the commit."""
    transaction = object()
    handle = await shop.job.options(tx=transaction).asend(1)
    await asyncio.to_thread(shop.job.options(tx=transaction).send, 2)
    assert [tx for tx, _ in shop.outbox] == [transaction] * 2
    assert shop.outbox[0][1].id == handle.id
    assert shop.waiting() == []
    with pytest.raises(Unroutable):
        await shop.job.options(tx=transaction, queue="nowhere").asend(3)


def test_many_calls_have_one_outcome_each_in_their_order(shop: Shop) -> None:
    """Nothing is raised for one of them."""

    def calls() -> Iterator[Call]:
        yield shop.job.call(0)
        yield shop.job.options(queue="nowhere").call(1)
        yield shop.remote("short").call(2)
        yield shop.remote("short").call(3)
        yield shop.job.options(unique="k").call(4)
        yield from (shop.job.call(number) for number in range(5, 3000))

    sent = shop.publisher.send_many(calls())
    kinds = [type(one.error) for one in sent[:5]]
    assert kinds == [type(None), Unroutable, type(None), QueueFull, SendRejected]
    refused = sent[4].error
    assert refused is not None
    assert "unique='k'" in refused.text
    assert (refused.job, refused.queue) == ("mail", "emails")
    assert all(one.ok and one.handle.id for one in sent[5:])
    assert len(sent) == 3000
    assert [one.id for one in shop.waiting()] == [
        one.handle.id for one in sent if one.ok and one.handle.queue == "emails"
    ]


async def test_a_cancelled_sender_leaves_the_publish_alone(shop: Shop) -> None:
    """Its outcome is nobody's any more."""
    shop.broker.stop()
    sending = asyncio.create_task(shop.job.asend(1))
    await asyncio.sleep(0)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    shop.broker.start()
    assert await asyncio.to_thread(shop.broker.wait_until, lambda _: len(shop.waiting()) == 1, 60)


def test_a_process_that_sends_from_one_loop_after_another_keeps_none_of_them(shop: Shop) -> None:
    """A service without a loop of its own says ``asyncio.run`` for each send."""
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    async def send() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        await shop.job.asend(1)

    for _ in range(5):
        asyncio.run(send())
    gc.collect()
    assert [loop() is None for loop in loops] == [True] * 4 + [False]


async def test_endings_publish_confirmed_or_raise(shop: Shop) -> None:
    """With the error of the outcome."""
    ok = outgoing_of(envelope_of(shop.job.call(1), SPEC, job_id="one"), SPEC)
    await shop.publisher.confirmed(ok)
    with pytest.raises(Unroutable):
        await shop.publisher.confirmed(Outgoing("shop.jobs", "typo", Properties(), b""))


def test_a_delay_beyond_the_ladder_is_refused(shop: Shop) -> None:
    """By name, before anything is claimed."""
    with pytest.raises(ArgumentsRefused, match="delay"):
        shop.job.options(delay=timedelta(days=4000), unique="k").send(1)
    assert shop.keys is not None
    assert shop.keys.held == {}
