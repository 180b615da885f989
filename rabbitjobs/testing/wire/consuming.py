"""Conformance of consuming."""

from __future__ import annotations

from rabbitjobs.testing.control import BrokerControl
from rabbitjobs.testing.wire.kit import (
    WireFixtures,
    consume,
    left_behind,
    message,
    publish,
    publish_all,
    ready_becomes,
)
from rabbitjobs.wire.protocol import (
    Wire,
)


class ConsumeConformance(WireFixtures):
    """Consuming: prefetch, acks, redelivery, and the drain."""

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

    async def test_one_ack_can_cover_all_before_it(self, wire: Wire, broker: BrokerControl) -> None:
        """``multiple`` takes the tag and every older one of the channel."""
        await broker.declare_queue("q")
        await publish_all(wire, [message("q") for _ in range(6)])
        consumer, inbox = await consume(wire, "q", prefetch=5)
        got = await inbox.take(5)
        consumer.ack(got[3].tag, multiple=True)
        await inbox.take(1)
        await consumer.sync()
        await consumer.close()
        assert await left_behind(wire, "q", 2) == 2

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
        assert await left_behind(wire, "a", 2) == 2
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
        assert await left_behind(wire, "q", 4) == 4
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
        assert await left_behind(wire, "q", 4) == 4
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
