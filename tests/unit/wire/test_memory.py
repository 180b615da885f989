"""The broker in memory routes, expires, dead-letters and counts as RabbitMQ 4.3 does."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from rabbitjobs.broker.url import Address
from rabbitjobs.errors import ChannelClosed, ConnectionLost
from rabbitjobs.message.properties import Properties
from rabbitjobs.wire.memory import MemoryBroker, MemoryConsumer, MemoryWire
from rabbitjobs.wire.memory_router import topic_matches
from rabbitjobs.wire.protocol import CONFIRMED, Delivery, Outgoing, Rejected

QUORUM = {"x-queue-type": "quorum"}


@pytest.fixture
def broker() -> MemoryBroker:
    """Its clock stands still: only ``advance`` moves time."""
    return MemoryBroker(clock=lambda: 0.0)


def send(broker: MemoryBroker, key: str, body: str = "", *, exchange: str = "", **more: Any) -> Any:
    return broker.publish(Outgoing(exchange, key, Properties(**more), body.encode()))


def bodies(broker: MemoryBroker, queue: str) -> list[str]:
    return [entry.body.decode() for entry in broker.messages(queue)]


class Reader:
    """A consumer that only collects."""

    def __init__(self) -> None:
        self.seen: list[Delivery] = []
        self.cancelled: list[str] = []
        self.consumer: MemoryConsumer

    async def attach(self, broker: MemoryBroker, queue: str, prefetch: int = 10) -> MemoryWire:
        wire = MemoryWire(broker)
        await wire.open(Address(), name="reader")
        self.consumer = await wire.consume(
            queue, prefetch=prefetch, deliver=self.seen.append, cancelled=self.cancelled.append
        )
        return wire

    async def next(self) -> Delivery:
        async with asyncio.timeout(60):
            while not self.seen:
                await asyncio.sleep(0)
        return self.seen.pop(0)


@pytest.mark.parametrize(
    ("pattern", "key", "fits"),
    [
        ("a.b", "a.b", True),
        ("a.*", "a.b", True),
        ("a.*", "a.b.c", False),
        ("a.*", "a", False),
        ("#", "", True),
        ("#", "a.b.c", True),
        ("a.#", "a", True),
        ("a.#.z", "a.z", True),
        ("a.#.z", "a.b.c.z", True),
        ("a.#.z", "a.b.c", False),
        ("*.#", "", True),
        ("#.#", "x", True),
    ],
)
def test_a_topic_pattern_fits_as_amqp_says(pattern: str, key: str, fits: bool) -> None:
    assert topic_matches(pattern.split("."), key.split(".")) is fits


def test_a_message_reaches_each_queue_once_through_bound_exchanges(broker: MemoryBroker) -> None:
    broker.declare_exchange("in", "topic")
    broker.declare_exchange("all", "fanout")
    for queue in ("one", "two"):
        broker.declare_queue(queue)
    broker.bind("in", "one", "job.#")
    broker.bind("in", "one", "job.done")
    broker.bind("in", "all", "job.done", to_exchange=True)
    broker.bind("all", "in", to_exchange=True)
    broker.bind("all", "one")
    broker.bind("all", "two")
    assert send(broker, "job.done", exchange="in") == CONFIRMED
    assert (broker.depth("one"), broker.depth("two")) == ((1, 0), (1, 0))


def test_an_alternate_exchange_takes_only_what_nothing_else_takes(broker: MemoryBroker) -> None:
    broker.declare_exchange("lost", "fanout")
    broker.declare_exchange("x", arguments={"alternate-exchange": "lost"})
    for queue in ("q", "spill"):
        broker.declare_queue(queue)
    broker.bind("x", "q", "q")
    broker.bind("lost", "spill")
    assert send(broker, "q", "a", exchange="x") == CONFIRMED
    assert send(broker, "typo", "b", exchange="x") == CONFIRMED
    assert (bodies(broker, "q"), bodies(broker, "spill")) == (["a"], ["b"])


def test_an_internal_exchange_refuses_publishers(broker: MemoryBroker) -> None:
    broker.declare_exchange("deliver", internal=True)
    outcome = send(broker, "k", exchange="deliver")
    assert isinstance(outcome, Rejected) and (outcome.reason, outcome.code) == ("refused", 403)


def test_a_body_over_the_limit_is_refused(broker: MemoryBroker) -> None:
    broker.declare_queue("q")
    outcome = send(broker, "q", "x" * (16 * 1024 * 1024 + 1))
    assert isinstance(outcome, Rejected) and outcome.code == 406


def test_declaring_differently_is_refused_and_the_same_again_is_fine(broker: MemoryBroker) -> None:
    broker.declare_queue("q", arguments=QUORUM)
    broker.declare_queue("q", arguments=QUORUM)
    broker.declare_exchange("x", "topic")
    with pytest.raises(ChannelClosed, match="PRECONDITION"):
        broker.declare_queue("q")
    with pytest.raises(ChannelClosed, match="PRECONDITION"):
        broker.declare_exchange("x", "fanout")
    with pytest.raises(ChannelClosed, match="NOT_FOUND"):
        broker.bind("x", "nowhere", "k")
    with pytest.raises(ChannelClosed, match="NOT_FOUND"):
        broker.bind("nowhere", "q", "k")


def test_what_expires_goes_to_the_dead_letter_exchange_with_its_story(broker: MemoryBroker) -> None:
    broker.declare_exchange("deliver")
    broker.declare_queue("work")
    broker.bind("deliver", "work", "work")
    arguments = {
        "x-message-ttl": 5000,
        "x-dead-letter-exchange": "deliver",
        "x-dead-letter-routing-key": "work",
    }
    broker.declare_queue("retry", arguments=arguments)
    send(broker, "retry", "a", headers={"mine": 1})
    broker.advance(4.9)
    assert bodies(broker, "retry") == ["a"]
    broker.advance(0.2)
    assert bodies(broker, "retry") == []
    (entry,) = broker.messages("work")
    headers = entry.properties.headers
    assert headers["mine"] == 1
    assert headers["x-first-death-queue"] == headers["x-last-death-queue"] == "retry"
    (death,) = headers["x-death"]
    assert (death["queue"], death["reason"], death["count"]) == ("retry", "expired", 1)
    assert (death["exchange"], death["routing-keys"]) == ("", ["retry"])


def test_only_the_head_expires_so_a_longer_wait_in_front_holds_up_a_shorter_one(
    broker: MemoryBroker,
) -> None:
    broker.declare_queue("dead")
    arguments = {"x-message-ttl": 1000, "x-dead-letter-exchange": "", **QUORUM}
    broker.declare_queue("q", arguments={**arguments, "x-dead-letter-routing-key": "dead"})
    send(broker, "q", "low", priority=1)
    broker.advance(0.9)
    send(broker, "q", "high", priority=9)
    broker.advance(0.5)
    assert bodies(broker, "q") == ["high", "low"]
    broker.advance(0.6)
    assert bodies(broker, "dead") == ["high", "low"]


def test_a_ladder_of_delays_delivers_when_all_its_steps_have_passed(broker: MemoryBroker) -> None:
    broker.declare_queue("work")
    for level, (ttl, after) in enumerate([(1000, "work"), (2000, "d0"), (4000, "d1")]):
        arguments = {"x-message-ttl": ttl, "x-dead-letter-exchange": ""}
        broker.declare_queue(
            f"d{level}", arguments={**arguments, "x-dead-letter-routing-key": after}
        )
    send(broker, "d2", "a")
    broker.advance(6.9)
    assert bodies(broker, "work") == []
    broker.advance(0.2)
    assert bodies(broker, "work") == ["a"]
    (entry,) = broker.messages("work")
    assert [death["queue"] for death in entry.properties.headers["x-death"]] == ["d0", "d1", "d2"]


def test_a_circle_of_delays_without_a_consumer_is_cut(broker: MemoryBroker) -> None:
    for queue, after in (("a", "b"), ("b", "a")):
        arguments = {"x-message-ttl": 1000, "x-dead-letter-exchange": ""}
        broker.declare_queue(queue, arguments={**arguments, "x-dead-letter-routing-key": after})
    send(broker, "a")
    broker.advance(10)
    assert (broker.depth("a"), broker.depth("b"), broker.discarded) == ((0, 0), (0, 0), 1)


def test_a_full_queue_refuses_or_drops_its_head(broker: MemoryBroker) -> None:
    limit = {"x-max-length": 2}
    broker.declare_queue("strict", arguments={**limit, "x-overflow": "reject-publish"})
    broker.declare_queue("window", arguments=limit)
    for queue in ("strict", "window"):
        for body in "abc":
            outcome = send(broker, queue, body)
        assert (outcome == CONFIRMED) is (queue == "window")
    assert bodies(broker, "strict") == ["a", "b"]
    assert bodies(broker, "window") == ["b", "c"]


def test_at_least_once_dead_lettering_waits_for_room_and_loses_nothing(
    broker: MemoryBroker,
) -> None:
    broker.declare_queue("dead", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    base = {
        "x-message-ttl": 1000,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "dead",
    }
    broker.declare_queue("safe", arguments={**base, "x-dead-letter-strategy": "at-least-once"})
    for body in "abc":
        send(broker, "safe", body)
    broker.advance(1)
    assert (bodies(broker, "dead"), bodies(broker, "safe")) == (["a"], [])
    broker.purge("dead")
    broker.advance(5)
    assert bodies(broker, "dead") == ["b"]
    broker.purge("dead")
    broker.advance(5)
    assert (bodies(broker, "dead"), broker.discarded) == (["c"], 0)


def test_at_most_once_dead_lettering_to_nowhere_loses_the_message(broker: MemoryBroker) -> None:
    arguments = {"x-message-ttl": 1000, "x-dead-letter-exchange": "missing"}
    broker.declare_queue("q", arguments=arguments)
    send(broker, "q")
    broker.advance(2)
    assert (broker.depth("q"), broker.discarded) == ((0, 0), 1)


def test_a_quorum_queue_delivers_by_strict_priority_and_none_means_four(
    broker: MemoryBroker,
) -> None:
    broker.declare_queue("q", arguments=QUORUM)
    for priority in (None, 9, 1, 40, 4, 31):
        send(broker, "q", str(priority), priority=priority)
    assert bodies(broker, "q") == ["40", "31", "9", "None", "4", "1"]
    broker.declare_queue("classic")
    for priority in (1, 9):
        send(broker, "classic", str(priority), priority=priority)
    assert bodies(broker, "classic") == ["1", "9"]


async def test_past_the_delivery_limit_a_message_is_dead_lettered_and_nacks_do_not_count(
    broker: MemoryBroker,
) -> None:
    broker.declare_queue("dead")
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    broker.declare_queue("q", arguments={**QUORUM, **arguments, "x-delivery-limit": 2})
    send(broker, "q", "crasher")
    reader = Reader()
    wire = await reader.attach(broker, "q")
    for _ in range(5):
        reader.consumer.nack((await reader.next()).tag)
    for crash in range(3):
        delivery = await reader.next()
        assert delivery.properties.headers.get("x-delivery-count", 0) == crash
        await reader.consumer.close()
        await wire.close()
        wire = await reader.attach(broker, "q")
    assert bodies(broker, "dead") == ["crasher"]
    (entry,) = broker.messages("dead")
    assert entry.properties.headers["x-first-death-reason"] == "delivery_limit"
    await wire.close()


async def test_what_comes_back_is_in_front_again(broker: MemoryBroker) -> None:
    broker.declare_queue("q", arguments=QUORUM)
    for body in "abc":
        send(broker, "q", body)
    reader = Reader()
    wire = await reader.attach(broker, "q", prefetch=2)
    first, second = await reader.next(), await reader.next()
    await reader.consumer.cancel()
    reader.consumer.nack(second.tag)
    reader.consumer.nack(first.tag)
    assert bodies(broker, "q") == ["a", "b", "c"]
    await wire.close()


async def test_consumers_take_turns_and_a_single_active_one_takes_all(broker: MemoryBroker) -> None:
    broker.declare_queue("shared")
    broker.declare_queue("sole", arguments={"x-single-active-consumer": True})
    for queue, expected in (("shared", [2, 2]), ("sole", [4, 0])):
        readers = [Reader(), Reader()]
        wires = [await reader.attach(broker, queue) for reader in readers]
        for _ in range(4):
            send(broker, queue)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [len(reader.seen) for reader in readers] == expected
        for wire in wires:
            await wire.close()
    assert broker.depth("sole") == (4, 0)


async def test_time_passes_by_itself_on_the_loop_of_a_connection() -> None:
    broker = MemoryBroker()
    broker.declare_queue("work")
    arguments = {"x-message-ttl": 30, "x-dead-letter-exchange": ""}
    broker.declare_queue("wait", arguments={**arguments, "x-dead-letter-routing-key": "work"})
    reader = Reader()
    wire = await reader.attach(broker, "work")
    send(broker, "wait", "later")
    async with asyncio.timeout(60):
        while not reader.seen:
            await asyncio.sleep(0.005)
    await wire.close()


async def test_a_stopped_broker_refuses_connections_and_keeps_its_messages(
    broker: MemoryBroker,
) -> None:
    broker.declare_queue("q")
    send(broker, "q", "kept")
    ends: list[str] = []
    wire = MemoryWire(broker)
    wire.closed = ends.append
    await wire.open(Address(), name="x")
    broker.stop()
    with pytest.raises(ConnectionLost):
        await MemoryWire(broker).open(Address(), name="x")
    await asyncio.sleep(0)
    assert len(ends) == 1
    broker.start()
    reader = Reader()
    again = await reader.attach(broker, "q")
    assert (await reader.next()).body == b"kept"
    await again.close()


async def test_two_loops_share_one_broker(broker: MemoryBroker) -> None:
    broker.declare_queue("q")
    reader = Reader()
    wire = await reader.attach(broker, "q", prefetch=0)

    async def publish() -> None:
        outcomes: list[Any] = []
        other = MemoryWire(broker)
        await other.open(Address(), name="other")
        for _ in range(200):
            other.publish(Outgoing("", "q", Properties(), b"x"), outcomes.append)
        while len(outcomes) < 200:
            await asyncio.sleep(0)
        await other.close()

    thread = threading.Thread(target=lambda: asyncio.run(publish()))
    thread.start()
    for _ in range(200):
        reader.consumer.ack((await reader.next()).tag)
    await asyncio.to_thread(thread.join)
    assert await asyncio.to_thread(broker.wait_until, lambda b: b.depth("q") == (0, 0))
    await wire.close()


async def test_headers_come_out_as_amqp_carries_them_not_as_the_same_object(
    broker: MemoryBroker,
) -> None:
    broker.declare_queue("q")
    reader = Reader()
    wire = await reader.attach(broker, "q")
    headers: dict[str, Any] = {"list": [1], "text": "a"}
    outcomes: list[Any] = []
    wire.publish(Outgoing("", "q", Properties(headers=headers), b""), outcomes.append)
    headers["list"].append(2)
    assert (await reader.next()).properties.headers == {"list": [1], "text": "a"}
    assert outcomes == [CONFIRMED]
    await wire.close()
