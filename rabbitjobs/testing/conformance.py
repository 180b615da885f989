"""The conformance suite of the wire: every implementation passes the same tests.

For a wire of your own, in a test module::

    from rabbitjobs.testing.conformance import WireConformance

    class TestMyWire(WireConformance):
        @pytest.fixture
        def make_wire(self):
            return MyWire

with an async fixture ``broker`` that yields a started
``rabbitjobs.testing.control.RabbitControl`` on an empty vhost, and pytest-asyncio in auto mode.
Each test takes well under two seconds, but for those that wait for a limit.
"""

from __future__ import annotations

import asyncio
import dataclasses
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from rabbitjobs.broker.url import Secret
from rabbitjobs.errors import ChannelClosed, ConnectionLost
from rabbitjobs.message.properties import Properties
from rabbitjobs.testing.control import BrokerControl
from rabbitjobs.wire.guard import DAMAGE
from rabbitjobs.wire.protocol import (
    CONFIRMED,
    Confirmed,
    Consumer,
    Delivery,
    Outcome,
    Outgoing,
    Rejected,
    Unknown,
    Wire,
)

MakeWire = Callable[[], Wire]

# A test that waits longer than this for something that must come has failed.
PATIENCE = 15.0
_LIMITED = {"x-max-length": 1, "x-overflow": "reject-publish"}


class Ends:
    """Hears what a wire says of itself."""

    def __init__(self, wire: Wire) -> None:
        self.closed: list[str] = []
        self.blocked: list[bool] = []
        self._news = asyncio.Event()
        wire.closed = self._on_closed
        wire.blocked = self._on_blocked

    def _on_closed(self, reason: str) -> None:
        self.closed.append(reason)
        self._news.set()

    def _on_blocked(self, blocked: bool) -> None:
        self.blocked.append(blocked)
        self._news.set()

    async def until(self, predicate: Callable[[Ends], bool]) -> None:
        """Wait until what was heard fulfils ``predicate``."""
        async with asyncio.timeout(PATIENCE):
            while not predicate(self):
                self._news.clear()
                await self._news.wait()


class Inbox:
    """Collects what one consumer gets."""

    def __init__(self) -> None:
        self.cancelled: list[str] = []
        self.seen: list[Delivery] = []
        self._fresh: asyncio.Queue[Delivery] = asyncio.Queue()
        self._over = asyncio.Event()

    def deliver(self, delivery: Delivery) -> None:
        """For ``Wire.consume``."""
        self.seen.append(delivery)
        self._fresh.put_nowait(delivery)

    def on_cancelled(self, reason: str) -> None:
        """For ``Wire.consume``."""
        self.cancelled.append(reason)
        self._over.set()

    async def next(self) -> Delivery:
        """The next delivery that nobody has asked for yet."""
        async with asyncio.timeout(PATIENCE):
            return await self._fresh.get()

    async def take(self, count: int) -> list[Delivery]:
        """So many deliveries."""
        return [await self.next() for _ in range(count)]

    async def over(self) -> str:
        """Why the consumer ended, once it has."""
        async with asyncio.timeout(PATIENCE):
            await self._over.wait()
        return self.cancelled[0]

    @property
    def waiting(self) -> int:
        """Deliveries that nobody has asked for yet."""
        return self._fresh.qsize()


def message(
    queue: str,
    body: bytes = b"{}",
    *,
    exchange: str = "",
    message_id: str | None = None,
    mandatory: bool = True,
    **properties: Any,
) -> Outgoing:
    """A message to a queue; every one gets a wire id of its own."""
    _counter[0] += 1
    wire_id = message_id or f"m-{_counter[0]}"
    return Outgoing(exchange, queue, Properties(message_id=wire_id, **properties), body, mandatory)


_counter = [0]


def start_publish(wire: Wire, outgoing: Outgoing) -> asyncio.Future[Outcome]:
    """Publish; the future gets the outcome, and a second one would be an error."""
    future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    wire.publish(outgoing, future.set_result)
    return future


async def publish(wire: Wire, outgoing: Outgoing) -> Outcome:
    """Publish one message and wait for its outcome."""
    async with asyncio.timeout(PATIENCE):
        return await start_publish(wire, outgoing)


async def publish_all(wire: Wire, messages: list[Outgoing]) -> list[Outcome]:
    """Publish all at once and wait for all outcomes."""
    futures = [start_publish(wire, each) for each in messages]
    async with asyncio.timeout(PATIENCE * 2):
        return await asyncio.gather(*futures)


async def eventually(check: Callable[[], Awaitable[bool]], what: str) -> None:
    """Ask again and again, for want of an event, until it holds."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while not await check():
        assert asyncio.get_running_loop().time() < deadline, f"expected {what}"
        await asyncio.sleep(0.02)


async def ready_becomes(wire: Wire, queue: str, count: int) -> None:
    """Wait until so many messages are ready in a queue."""

    async def holds() -> bool:
        return (await wire.inspect_queue(queue))[0] == count

    await eventually(holds, f"{count} ready messages in {queue}")


async def left_behind(wire: Wire, queue: str) -> int:
    """How many messages are ready once the queue has no consumer any more."""

    async def holds() -> bool:
        return (await wire.inspect_queue(queue))[1] == 0

    await eventually(holds, f"no consumer on {queue}")
    return (await wire.inspect_queue(queue))[0]


async def consume(wire: Wire, queue: str, *, prefetch: int = 10) -> tuple[Consumer, Inbox]:
    """Start a consumer with an inbox of its own."""
    inbox = Inbox()
    consumer = await wire.consume(
        queue, prefetch=prefetch, deliver=inbox.deliver, cancelled=inbox.on_cancelled
    )
    return consumer, inbox


@asynccontextmanager
async def connected(make_wire: MakeWire, broker: BrokerControl) -> AsyncIterator[Wire]:
    """An open wire, closed at the end."""
    wire = make_wire()
    Ends(wire)
    async with asyncio.timeout(PATIENCE):
        await wire.open(broker.address, name="conformance")
    try:
        yield wire
    finally:
        async with asyncio.timeout(PATIENCE):
            await wire.close()


def raw_header(size: int, flags: int, fields: bytes) -> bytes:
    """A content header's payload, of bytes that nobody has checked."""
    return struct.pack(">HHQH", 60, 0, size, flags) + fields


def _table(field: bytes) -> bytes:
    return len(field).to_bytes(4, "big") + field


def _nested(depth: int) -> bytes:
    field = b"\x01kV"
    for _ in range(depth):
        field = b"\x01kF" + _table(field)
    return _table(field)


# What a stranger can publish and a client library dies of: flags and fields of a content header.
POISON: dict[str, tuple[int, bytes]] = {
    "bad UTF-8 in content_type": (0x8000, b"\x02\xff\xfe"),
    "bad UTF-8 in message_id": (0x0080, b"\x02\xc3\x28"),
    "bad UTF-8 in a header's name": (0x2000, _table(b"\x01\xffV")),
    "a timestamp of 2^62": (0x0040, (2**62).to_bytes(8, "big")),
    "a timestamp of 2^62 in a header": (0x2000, _table(b"\x01kT" + (2**62).to_bytes(8, "big"))),
    "headers nested 3000 deep": (0x2000, _nested(3000)),
}


class _Fixtures:
    """What an implementer provides."""

    @pytest.fixture
    def make_wire(self) -> MakeWire:
        """Makes an unopened wire."""
        raise LookupError("expected the class to override the fixture make_wire")

    @pytest.fixture
    async def wire(self, make_wire: MakeWire, broker: BrokerControl) -> AsyncIterator[Wire]:
        """An open wire."""
        async with connected(make_wire, broker) as wire:
            yield wire


class PublishConformance(_Fixtures):
    """Publishing: every message gets exactly one outcome, and the right one."""

    async def test_a_message_arrives_as_it_was_sent(
        self, wire: Wire, broker: BrokerControl
    ) -> None:
        """Body, properties and headers come out with the types they went in with."""
        await broker.declare_queue("q")
        sent = message(
            "q",
            '{"args": ["텍스트"]}'.encode(),
            type="shop.보내기",
            content_type="application/json",
            content_encoding="identity",
            correlation_id="c",
            reply_to="r",
            app_id="a",
            priority=3,
            timestamp=1_764_000_000,
            headers={
                "text": "텍스트", "int": 7, "long": 2**40, "negative": -1, "yes": True,
                "none": None, "list": ["a", 1, {"deep": False}], "table": {"k": "v"}, "bytes": b"\xff\x00",
            },
        )  # fmt: skip
        assert await publish(wire, sent) == CONFIRMED
        consumer, inbox = await consume(wire, "q")
        got = await inbox.next()
        assert got.properties == sent.properties
        assert got.body == sent.body
        assert (got.exchange, got.routing_key, got.redelivered) == ("", "q", False)
        assert (got.damage, got.raw) == (None, b"")
        consumer.ack(got.tag)

    async def test_a_message_without_any_property_arrives(
        self, wire: Wire, broker: BrokerControl
    ) -> None:
        """As any AMQP client may send it."""
        await broker.declare_queue("q")
        await broker.publish_raw("q", b"q", raw_header(2, 0, b""), b"{}")
        _, inbox = await consume(wire, "q")
        got = await inbox.next()
        assert (got.body, got.damage) == (b"{}", None)
        assert got.properties.message_id is None
        assert got.properties.headers == {}

    @pytest.mark.parametrize("size", [0, 1, 131_064, 131_065, 500_000, 16_000_000])
    async def test_bodies_of_every_size_arrive_whole(
        self, wire: Wire, broker: BrokerControl, size: int
    ) -> None:
        """Empty, one frame exactly, one byte more, many frames, nearly the broker's limit."""
        await broker.declare_queue("q")
        body = (b"0123456789abcdef" * (size // 16 + 1))[:size]
        assert await publish(wire, message("q", body)) == CONFIRMED
        consumer, inbox = await consume(wire, "q")
        got = await inbox.next()
        assert len(got.body) == size and got.body == body
        consumer.ack(got.tag)
        await consumer.sync()

    async def test_many_at_once_are_all_confirmed_and_keep_their_order(
        self, wire: Wire, broker: BrokerControl
    ) -> None:
        """Confirms come singly and in batches; none is lost and none is mixed up."""
        await broker.declare_queue("q")
        sent = [message("q", str(number).encode()) for number in range(1000)]
        outcomes = await publish_all(wire, sent)
        assert outcomes == [CONFIRMED] * 1000
        consumer, inbox = await consume(wire, "q", prefetch=0)
        got = await inbox.take(1000)
        assert [each.body for each in got] == [each.body for each in sent]
        consumer.ack(got[-1].tag, multiple=True)
        await consumer.sync()

    async def test_a_full_queue_rejects_with_nacked(
        self, wire: Wire, broker: BrokerControl
    ) -> None:
        """With reject-publish the broker nacks; nothing of it is stored."""
        await broker.declare_queue("full", {**_LIMITED, "x-queue-type": "classic"})
        assert await publish(wire, message("full")) == CONFIRMED
        outcome = await publish(wire, message("full"))
        assert isinstance(outcome, Rejected) and outcome.reason == "nacked"
        assert await left_behind(wire, "full") == 1

    async def test_a_message_that_no_queue_takes_is_unroutable(
        self, wire: Wire, broker: BrokerControl
    ) -> None:
        """The return, not the ack that follows it, decides."""
        await broker.declare_exchange("x", "direct")
        outcome = await publish(wire, message("nowhere", exchange="x"))
        assert isinstance(outcome, Rejected) and outcome.reason == "unroutable"

    async def test_an_event_that_nobody_listens_to_is_confirmed(
        self, wire: Wire, broker: BrokerControl
    ) -> None:
        """Without ``mandatory`` no queue is fine."""
        await broker.declare_exchange("x", "fanout")
        assert await publish(wire, message("k", exchange="x", mandatory=False)) == CONFIRMED

    async def test_each_of_a_mixed_crowd_gets_its_own_outcome(
        self, wire: Wire, broker: BrokerControl
    ) -> None:
        """Stored, unroutable and refused by a full queue, all in flight together."""
        await broker.declare_queue("q")
        await broker.declare_queue("c", {"x-queue-type": "classic"})
        await broker.declare_queue("full", {**_LIMITED, "x-queue-type": "classic"})
        assert await publish(wire, message("full")) == CONFIRMED
        keys = ["q", "nowhere", "c", "full", "q", "c", "nowhere"] * 60
        outcomes = await publish_all(wire, [message(key) for key in keys])
        expected = {"q": "stored", "c": "stored", "full": "nacked", "nowhere": "unroutable"}
        got = [each.reason if isinstance(each, Rejected) else "stored" for each in outcomes]
        assert got == [expected[key] for key in keys]
        assert await left_behind(wire, "q") == 120
        assert await left_behind(wire, "c") == 120

    async def test_a_missing_exchange_fails_its_own_message_only(
        self, wire: Wire, broker: BrokerControl
    ) -> None:
        """It closes the channel: its neighbours are stored or unknown, never called failed."""
        await broker.declare_queue("q")
        crowd = [message("q") for _ in range(20)]
        bad = message("q", exchange="missing")
        outcomes = await publish_all(wire, [*crowd[:10], bad, *crowd[10:]])
        culprit = outcomes.pop(10)
        assert isinstance(culprit, Rejected | Unknown)
        if isinstance(culprit, Rejected):
            assert (culprit.reason, culprit.code) == ("refused", 404)
        assert all(
            isinstance(each, Confirmed) or (isinstance(each, Unknown) and each.channel)
            for each in outcomes
        )
        confirmed = sum(isinstance(each, Confirmed) for each in outcomes)
        assert (await wire.inspect_queue("q"))[0] >= confirmed
        assert await publish(wire, message("q")) == CONFIRMED

    async def test_alone_a_message_to_a_missing_exchange_is_refused_with_the_code(
        self, wire: Wire, broker: BrokerControl
    ) -> None:
        """And the next publish finds a channel again, any number of times."""
        await broker.declare_queue("q")
        for _ in range(3):
            outcome = await publish(wire, message("q", exchange="missing"))
            assert isinstance(outcome, Rejected)
            assert (outcome.reason, outcome.code) == ("refused", 404)
            assert await publish(wire, message("q")) == CONFIRMED

    async def test_what_is_written_while_the_channel_opens_anew_is_not_lost(
        self, wire: Wire, broker: BrokerControl
    ) -> None:
        """In the very callback that tells of the refusal."""
        await broker.declare_queue("q")
        again: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def refused(_: Outcome) -> None:
            wire.publish(message("q"), again.set_result)

        wire.publish(message("q", exchange="missing"), refused)
        async with asyncio.timeout(PATIENCE):
            assert await again == CONFIRMED

    @pytest.mark.parametrize(
        "bad",
        [
            {"type": "이" * 100},
            {"headers": {"k": object()}},
            {"headers": {"k": 2**70}},
            {"headers": {"이" * 100: 1}},
            {"correlation_id": "\ud800"},
        ],
        ids=["long type", "object", "huge int", "long header name", "lone surrogate"],
    )
    async def test_what_amqp_cannot_carry_is_refused_and_disturbs_nobody(
        self, wire: Wire, broker: BrokerControl, bad: dict[str, Any]
    ) -> None:
        """Before a byte is written: the channel stays, the neighbours are confirmed."""
        await broker.declare_queue("q")
        outcomes = await publish_all(wire, [message("q"), message("q", **bad), message("q")])
        assert outcomes[0] == outcomes[2] == CONFIRMED
        assert isinstance(outcomes[1], Rejected) and outcomes[1].reason == "refused"
        assert await left_behind(wire, "q") == 2

    async def test_a_routing_key_that_is_too_long_is_refused_and_disturbs_nobody(
        self, wire: Wire, broker: BrokerControl
    ) -> None:
        """255 bytes of UTF-8 are AMQP's limit, and a Korean letter has three."""
        await broker.declare_queue("q")
        outcomes = await publish_all(wire, [message("q"), message("큐" * 86), message("q")])
        assert outcomes[0] == outcomes[2] == CONFIRMED
        assert isinstance(outcomes[1], Rejected)

    async def test_the_message_itself_is_not_changed_by_publishing(
        self, wire: Wire, broker: BrokerControl
    ) -> None:
        """The same value can be published again."""
        await broker.declare_queue("q")
        sent = message("q", headers={"k": {"n": 1}})
        before = msgspec.structs.replace(sent)
        assert await publish(wire, sent) == CONFIRMED
        assert sent == before and sent.properties.headers == {"k": {"n": 1}}


class ConsumeConformance(_Fixtures):
    """Consuming: prefetch, acks, redelivery, and every way in which a consumer ends."""

    async def test_prefetch_is_honoured_and_an_ack_makes_room(
        self, wire: Wire, broker: BrokerControl
    ) -> None:
        """Never more than ``prefetch`` unacked, and one more for each ack."""
        await broker.declare_queue("q")
        await publish_all(wire, [message("q") for _ in range(10)])
        consumer, inbox = await consume(wire, "q", prefetch=3)
        got = await inbox.take(3)
        await ready_becomes(wire, "q", 7)
        assert inbox.waiting == 0
        consumer.ack(got[0].tag)
        await inbox.take(1)
        await ready_becomes(wire, "q", 6)
        assert inbox.waiting == 0

    async def test_one_ack_can_cover_all_before_it(
        self, wire: Wire, broker: BrokerControl
    ) -> None:
        """``multiple`` takes the tag and every older one of the channel."""
        await broker.declare_queue("q")
        await publish_all(wire, [message("q") for _ in range(6)])
        consumer, inbox = await consume(wire, "q", prefetch=5)
        got = await inbox.take(5)
        consumer.ack(got[3].tag, multiple=True)
        await inbox.take(1)
        await consumer.sync()
        await consumer.close()
        assert await left_behind(wire, "q") == 2

    async def test_tags_of_two_consumers_do_not_touch(
        self, wire: Wire, broker: BrokerControl
    ) -> None:
        """Each consumer has a channel of its own, so ``multiple`` reaches no neighbour."""
        await broker.declare_queue("a")
        await broker.declare_queue("b")
        await publish_all(wire, [message("a"), message("a"), message("b"), message("b")])
        first, one = await consume(wire, "a")
        second, two = await consume(wire, "b")
        await one.take(2)
        got = await two.take(2)
        second.ack(got[-1].tag, multiple=True)
        await second.sync()
        await first.close()
        await second.close()
        assert await left_behind(wire, "a") == 2
        await ready_becomes(wire, "b", 0)

    async def test_what_is_given_back_comes_again_marked_as_redelivered(
        self, wire: Wire, broker: BrokerControl
    ) -> None:
        """After a nack and after a closed channel."""
        await broker.declare_queue("q")
        await publish(wire, message("q", b"one"))
        consumer, inbox = await consume(wire, "q", prefetch=1)
        first = await inbox.next()
        assert not first.redelivered
        consumer.nack(first.tag)
        second = await inbox.next()
        assert (second.body, second.redelivered) == (b"one", True)
        await consumer.close()
        _, other = await consume(wire, "q")
        third = await other.next()
        assert (third.body, third.redelivered) == (b"one", True)

    async def test_a_nack_without_requeue_removes_it(
        self, wire: Wire, broker: BrokerControl
    ) -> None:
        """Without a dead-letter exchange it is gone."""
        await broker.declare_queue("q")
        await publish(wire, message("q"))
        consumer, inbox = await consume(wire, "q")
        consumer.nack((await inbox.next()).tag, requeue=False)
        await consumer.sync()
        await consumer.close()
        assert await left_behind(wire, "q") == 0

    async def test_acks_before_sync_and_close_are_durable(
        self, wire: Wire, broker: BrokerControl
    ) -> None:
        """One round trip before the close makes every ack count."""
        await broker.declare_queue("q")
        await publish_all(wire, [message("q") for _ in range(500)])
        consumer, inbox = await consume(wire, "q", prefetch=500)
        for delivery in await inbox.take(500):
            consumer.ack(delivery.tag)
        await consumer.sync()
        await consumer.close()
        assert await left_behind(wire, "q") == 0

    async def test_a_burst_of_single_acks_after_cancel_is_durable_too(
        self, wire: Wire, broker: BrokerControl
    ) -> None:
        """RabbitMQ stashes what follows the 32nd settlement; a drain must not close upon it."""
        await broker.declare_queue("q")
        await publish_all(wire, [message("q") for _ in range(400)])
        consumer, inbox = await consume(wire, "q", prefetch=400)
        got = await inbox.take(400)
        await consumer.cancel()
        for delivery in reversed(got):
            consumer.ack(delivery.tag)
        await consumer.sync()
        await consumer.close()
        assert await left_behind(wire, "q") == 0

    async def test_closing_gives_back_what_is_not_settled(
        self, wire: Wire, broker: BrokerControl
    ) -> None:
        """Nothing is lost with a channel."""
        await broker.declare_queue("q")
        await publish_all(wire, [message("q") for _ in range(5)])
        consumer, inbox = await consume(wire, "q")
        got = await inbox.take(5)
        consumer.ack(got[1].tag)
        await consumer.sync()
        await consumer.close()
        assert await left_behind(wire, "q") == 4
        assert inbox.cancelled == []

    async def test_after_cancel_nothing_new_comes_and_the_old_can_be_settled(
        self, wire: Wire, broker: BrokerControl
    ) -> None:
        """The drain of a worker: cancel, ack or nack each, sync, close."""
        await broker.declare_queue("q")
        await publish_all(wire, [message("q", str(n).encode()) for n in range(4)])
        consumer, inbox = await consume(wire, "q", prefetch=3)
        got = await inbox.take(3)
        await consumer.cancel()
        await publish(wire, message("q", b"late"))
        consumer.ack(got[0].tag)
        consumer.nack(got[1].tag)
        consumer.nack(got[2].tag)
        await consumer.sync()
        assert len(inbox.seen) == 3
        await consumer.close()
        assert await left_behind(wire, "q") == 4
        assert inbox.cancelled == []
        _, other = await consume(wire, "q")
        bodies = sorted(each.body for each in await other.take(4))
        assert bodies == [b"1", b"2", b"3", b"late"]

    async def test_deliveries_on_their_way_during_cancel_are_not_swallowed(
        self, wire: Wire, broker: BrokerControl
    ) -> None:
        """Whatever the broker handed out is seen, so that it can be given back uncounted."""
        await broker.declare_queue("q")
        await publish_all(wire, [message("q") for _ in range(200)])
        consumer, inbox = await consume(wire, "q", prefetch=200)
        await inbox.next()
        await consumer.cancel()
        ready, _ = await wire.inspect_queue("q")
        assert ready + len(inbox.seen) == 200

    async def test_acking_a_tag_twice_closes_the_channel_and_tells_once(
        self, wire: Wire, broker: BrokerControl
    ) -> None:
        """406: the neighbours come back, and later acks are ignored."""
        await broker.declare_queue("q")
        await publish_all(wire, [message("q"), message("q")])
        consumer, inbox = await consume(wire, "q")
        got = await inbox.take(2)
        consumer.ack(got[0].tag)
        consumer.ack(got[0].tag)
        assert await inbox.over()
        await ready_becomes(wire, "q", 1)
        consumer.ack(got[1].tag)
        consumer.nack(got[1].tag)
        await consumer.close()
        assert await left_behind(wire, "q") == 1
        assert len(inbox.cancelled) == 1
        assert await publish(wire, message("q")) == CONFIRMED

    async def test_a_deleted_queue_cancels_its_consumer_and_tells_once(
        self, wire: Wire, broker: BrokerControl
    ) -> None:
        """The server's basic.cancel is heard; acks of what was delivered do no harm."""
        await broker.declare_queue("q")
        await publish(wire, message("q"))
        consumer, inbox = await consume(wire, "q")
        got = await inbox.next()
        await broker.delete_queue("q")
        assert await inbox.over()
        consumer.ack(got.tag)
        await consumer.close()
        with pytest.raises(ChannelClosed) as error:
            await wire.inspect_queue("q")
        assert error.value.code == 404
        assert len(inbox.cancelled) == 1

    async def test_a_queue_made_anew_can_be_consumed_on_the_same_connection(
        self, wire: Wire, broker: BrokerControl
    ) -> None:
        """After a server cancel the wire is as good as new."""
        await broker.declare_queue("q")
        consumer, inbox = await consume(wire, "q")
        await broker.delete_queue("q")
        await inbox.over()
        await consumer.close()
        await broker.declare_queue("q")
        _, other = await consume(wire, "q")
        await publish(wire, message("q", b"again"))
        assert (await other.next()).body == b"again"

    async def test_consuming_a_missing_queue_raises_and_leaves_the_connection(
        self, wire: Wire, broker: BrokerControl
    ) -> None:
        """404, and nothing is created."""
        for _ in range(2):
            with pytest.raises(ChannelClosed) as error:
                await consume(wire, "missing")
            assert error.value.code == 404
        await broker.declare_queue("q")
        assert await publish(wire, message("q")) == CONFIRMED

    async def test_inspecting_counts_ready_messages_and_consumers(
        self, wire: Wire, broker: BrokerControl
    ) -> None:
        """And a missing queue or exchange is 404, without harm to the connection."""
        await broker.declare_queue("q")
        await broker.declare_exchange("x", "topic")
        await publish_all(wire, [message("q"), message("q")])
        assert await left_behind(wire, "q") == 2
        consumer, inbox = await consume(wire, "q")
        await inbox.take(2)
        assert await wire.inspect_queue("q") == (0, 1)
        await consumer.close()
        await wire.inspect_exchange("x")
        for missing in (wire.inspect_queue("no"), wire.inspect_exchange("no")):
            with pytest.raises(ChannelClosed) as error:
                await missing
            assert error.value.code == 404
        assert await publish(wire, message("q")) == CONFIRMED

    async def test_a_temporary_queue_hears_its_keys_and_goes_with_the_connection(
        self, make_wire: MakeWire, wire: Wire, broker: BrokerControl
    ) -> None:
        """Exclusive: no other connection can look at it."""
        await broker.declare_exchange("events", "topic")
        async with connected(make_wire, broker) as owner:
            name = await owner.temporary_queue("tmp", exchange="events", keys=["job.*", "beat"])
            assert name == "tmp"
            _, inbox = await consume(owner, name)
            for key in ("job.done", "other", "beat"):
                event = message(key, key.encode(), exchange="events", mandatory=False)
                assert await publish(wire, event) == CONFIRMED
            assert [each.body for each in await inbox.take(2)] == [b"job.done", b"beat"]
            with pytest.raises(ChannelClosed) as error:
                await wire.inspect_queue(name)
            assert error.value.code == 405

        async def gone() -> bool:
            try:
                await wire.inspect_queue("tmp")
            except ChannelClosed as error:
                return error.code == 404
            return False

        await eventually(gone, "the temporary queue to go with its connection")

    async def test_a_temporary_queue_on_a_missing_exchange_raises(self, wire: Wire) -> None:
        """404."""
        with pytest.raises(ChannelClosed) as error:
            await wire.temporary_queue("tmp", exchange="missing", keys=["k"])
        assert error.value.code == 404

    async def test_the_callers_cancellation_of_an_rpc_ends_no_other_consumer(
        self, wire: Wire, broker: BrokerControl
    ) -> None:
        """A task that gives up asking must not disturb the connection."""
        await broker.declare_queue("q")
        consumer, inbox = await consume(wire, "q")
        asking = asyncio.ensure_future(wire.inspect_queue("q"))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert await publish(wire, message("q")) == CONFIRMED
        consumer.ack((await inbox.next()).tag)
        await consumer.sync()
        assert inbox.cancelled == []


class PoisonConformance(_Fixtures):
    """Messages that kill a client library end in nobody's death."""

    @pytest.mark.parametrize("name", POISON)
    async def test_a_poison_message_is_marked_and_the_next_healthy_one_arrives(
        self, wire: Wire, broker: BrokerControl, name: str
    ) -> None:
        """With its reason, its raw header and its body; and it can be acked."""
        await broker.declare_queue("q")
        header = raw_header(3, *POISON[name])
        await broker.publish_raw("q", b"q", header, b"bad")
        await publish(wire, message("q", b"good"))
        consumer, inbox = await consume(wire, "q", prefetch=1)
        got = await inbox.next()
        assert got.body == b"bad"
        assert got.damage
        assert POISON[name][1] in got.raw
        assert got.properties.headers == {}
        consumer.ack(got.tag)
        after = await inbox.next()
        assert (after.body, after.damage) == (b"good", None)
        consumer.ack(after.tag)
        await consumer.sync()
        await consumer.close()
        assert await left_behind(wire, "q") == 0

    async def test_a_poison_routing_key_is_marked_too(
        self, wire: Wire, broker: BrokerControl
    ) -> None:
        """It stands in another frame than the properties."""
        await broker.declare_queue("q")
        await broker.publish_raw("q", b"\xff\xfe", raw_header(3, 0, b""), b"bad")
        await publish(wire, message("q", b"good"))
        consumer, inbox = await consume(wire, "q", prefetch=1)
        got = await inbox.next()
        assert got.damage and got.body == b"bad"
        consumer.ack(got.tag)
        assert (await inbox.next()).damage is None

    async def test_a_poison_message_with_an_empty_body_is_marked_too(
        self, wire: Wire, broker: BrokerControl
    ) -> None:
        """There is no body frame behind such a header."""
        await broker.declare_queue("q")
        header = raw_header(0, *POISON["a timestamp of 2^62"])
        await broker.publish_raw("q", b"q", header, b"")
        await publish(wire, message("q", b"good"))
        _, inbox = await consume(wire, "q")
        first, second = await inbox.take(2)
        assert first.damage and first.body == b""
        assert second.damage is None

    async def test_the_types_that_other_clients_send_are_read_alike(
        self, wire: Wire, broker: BrokerControl
    ) -> None:
        """Doubles, small numbers, timestamps (as unix seconds), text that is not UTF-8."""
        await broker.declare_queue("q")
        fields = {
            "d": (b"d" + struct.pack(">d", 1.5), 1.5),
            "b": (b"b\xff", -1),
            "T": (b"T" + struct.pack(">Q", 1_764_000_000), 1_764_000_000),
            "S": (b"S\x00\x00\x00\x01\xff", b"\xff"),
            "A": (b"A" + _table(b"t\x01V"), [True, None]),
            "F": (b"F" + _table(b"\x01kT" + struct.pack(">Q", 1)), {"k": 1}),
        }
        table = b"".join(b"\x01" + key.encode() + raw for key, (raw, _) in fields.items())
        await broker.publish_raw("q", b"q", raw_header(1, 0x2000, _table(table)), b"x")
        _, inbox = await consume(wire, "q")
        got = await inbox.next()
        assert got.damage is None
        assert got.properties.headers == {key: value for key, (_, value) in fields.items()}

    async def test_a_mark_faked_by_a_stranger_quarantines_his_own_message_only(
        self, wire: Wire, broker: BrokerControl
    ) -> None:
        """The header's name is reserved."""
        await broker.declare_queue("q")
        faked = message("q", b"fake", headers={DAMAGE: {"a": [1]}, "x-rj-raw": 5})
        assert await publish(wire, faked) == CONFIRMED
        await publish(wire, message("q", b"good"))
        _, inbox = await consume(wire, "q")
        first, second = await inbox.take(2)
        assert first.damage and isinstance(first.raw, bytes)
        assert (second.body, second.damage) == (b"good", None)


class ConnectionConformance(_Fixtures):
    """The life and the ends of a connection."""

    async def test_the_server_says_what_it_is(self, wire: Wire) -> None:
        """Features are gated on the version that the server announces."""
        assert wire.server["product"] == "RabbitMQ"
        assert int(str(wire.server["version"]).split(".")[0]) >= 3
        assert wire.frame_max >= 8192

    async def test_closing_is_silent_and_may_be_repeated(
        self, make_wire: MakeWire, broker: BrokerControl
    ) -> None:
        """``closed`` is for what was not asked for."""
        wire = make_wire()
        ends = Ends(wire)
        await wire.open(broker.address, name="conformance")
        await wire.close()
        await wire.close()
        assert ends.closed == []
        outcome = await publish(wire, message("q"))
        assert isinstance(outcome, Rejected) and outcome.reason == "unavailable"
        with pytest.raises(ConnectionLost):
            await wire.inspect_queue("q")

    async def test_closing_an_unopened_wire_is_fine(self, make_wire: MakeWire) -> None:
        """Nothing to do."""
        await make_wire().close()

    async def test_a_cut_connection_tells_once_and_what_was_in_flight_is_unknown(
        self, make_wire: MakeWire, broker: BrokerControl
    ) -> None:
        """Written and not confirmed: it may be stored."""
        await broker.declare_queue("q")
        wire = make_wire()
        ends = Ends(wire)
        await wire.open(broker.address, name="conformance")
        await broker.hold_answers()
        futures = [start_publish(wire, message("q")) for _ in range(5)]
        await asyncio.sleep(0.2)
        assert not any(future.done() for future in futures)
        await broker.drop_connections()
        async with asyncio.timeout(PATIENCE):
            outcomes = await asyncio.gather(*futures)
        assert all(isinstance(each, Unknown) and not each.channel for each in outcomes)
        await ends.until(lambda heard: bool(heard.closed))
        await wire.close()
        assert len(ends.closed) == 1
        async with connected(make_wire, broker) as other:
            assert (await other.inspect_queue("q"))[0] == 5

    async def test_after_a_cut_every_call_says_so_and_acks_do_nothing(
        self, make_wire: MakeWire, broker: BrokerControl
    ) -> None:
        """No library's error, no hang, no exception from an ack."""
        await broker.declare_queue("q")
        wire = make_wire()
        ends = Ends(wire)
        await wire.open(broker.address, name="conformance")
        await publish(wire, message("q"))
        consumer, inbox = await consume(wire, "q")
        got = await inbox.next()
        await broker.drop_connections()
        await ends.until(lambda heard: bool(heard.closed))
        consumer.ack(got.tag)
        consumer.nack(got.tag)
        outcome = await publish(wire, message("q"))
        assert isinstance(outcome, Rejected) and outcome.reason == "unavailable"
        async with asyncio.timeout(PATIENCE):
            for call in (
                consume(wire, "q"),
                wire.inspect_queue("q"),
                wire.inspect_exchange("x"),
                wire.temporary_queue("t", exchange="x", keys=[]),
                consumer.sync(),
            ):
                with pytest.raises((ConnectionLost, ChannelClosed)):
                    await call
            await consumer.close()
            await wire.close()
        async with connected(make_wire, broker) as other:
            _, again = await consume(other, "q")
            assert (await again.next()).redelivered

    async def test_a_cut_ends_what_waits_for_an_answer(
        self, make_wire: MakeWire, broker: BrokerControl
    ) -> None:
        """An RPC in flight raises, and the task that waits for it is not cancelled."""
        await broker.declare_queue("q")
        async with connected(make_wire, broker) as wire:
            consumer, _ = await consume(wire, "q")
            await broker.hold_answers()
            waiting = [
                asyncio.ensure_future(consumer.sync()),
                asyncio.ensure_future(consumer.cancel()),
                asyncio.ensure_future(wire.inspect_queue("q")),
            ]
            await asyncio.sleep(0.1)
            await broker.drop_connections()
            async with asyncio.timeout(PATIENCE):
                results = await asyncio.gather(*waiting, return_exceptions=True)
        for result in results:
            assert not isinstance(result, BaseException) or isinstance(
                result, ConnectionLost | ChannelClosed
            )

    async def test_a_cut_cancels_no_task_of_the_owner(
        self, make_wire: MakeWire, broker: BrokerControl
    ) -> None:
        """A job that was started from ``deliver`` goes on when the connection ends."""
        await broker.declare_queue("q")
        release = asyncio.Event()
        finished: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        tasks: list[asyncio.Task[None]] = []

        async def job() -> None:
            await release.wait()
            finished.set_result("done")

        wire = make_wire()
        ends = Ends(wire)
        await wire.open(broker.address, name="conformance")
        await publish(wire, message("q"))
        started = asyncio.Event()

        def deliver(_: Delivery) -> None:
            tasks.append(asyncio.get_running_loop().create_task(job()))
            started.set()

        await wire.consume("q", prefetch=1, deliver=deliver, cancelled=lambda _: None)
        async with asyncio.timeout(PATIENCE):
            await started.wait()
        await broker.drop_connections()
        await ends.until(lambda heard: bool(heard.closed))
        await wire.close()
        release.set()
        async with asyncio.timeout(PATIENCE):
            assert await finished == "done"

    async def test_an_alarm_blocks_publishing_and_not_consuming(
        self, make_wire: MakeWire, wire: Wire, broker: BrokerControl
    ) -> None:
        """``blocked`` says so, the publish waits, acks elsewhere go on; then all is confirmed."""
        await broker.declare_queue("q")
        await publish_all(wire, [message("q"), message("q")])
        ends = Ends(wire)
        async with connected(make_wire, broker) as reader:
            consumer, inbox = await consume(reader, "q", prefetch=1)
            await inbox.next()
            await broker.block()
            try:
                waiting = start_publish(wire, message("q", b"late"))
                await ends.until(lambda heard: heard.blocked == [True])
                consumer.ack(inbox.seen[0].tag)
                second = await inbox.next()
                consumer.ack(second.tag)
                await consumer.sync()
                assert not waiting.done()
            finally:
                await broker.unblock()
            await ends.until(lambda heard: heard.blocked == [True, False])
            async with asyncio.timeout(PATIENCE):
                assert await waiting == CONFIRMED
            assert (await inbox.next()).body == b"late"


class NetworkConformance(_Fixtures):
    """What only a wire over a network can meet."""

    async def test_what_cannot_be_connected_raises_connection_lost(
        self, make_wire: MakeWire, broker: BrokerControl
    ) -> None:
        """A closed port, a wrong password, a missing vhost; and close is fine after each."""
        good = broker.address
        for address in (
            dataclasses.replace(good, port=1),
            dataclasses.replace(good, password=Secret("wrong")),
            dataclasses.replace(good, vhost="no-such-vhost"),
        ):
            wire = make_wire()
            ends = Ends(wire)
            with pytest.raises(ConnectionLost) as error:
                async with asyncio.timeout(PATIENCE):
                    await wire.open(address, name="conformance")
            assert good.password.reveal() not in str(error.value)
            assert "wrong" not in str(error.value)
            await wire.close()
            assert ends.closed == []


class WireConformance(
    PublishConformance, ConsumeConformance, PoisonConformance, ConnectionConformance
):
    """All of it."""
