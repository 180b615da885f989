"""Conformance of the ends of consumers."""

from __future__ import annotations

import asyncio

import pytest

from rabbitjobs.errors import ChannelClosed
from rabbitjobs.testing.control import BrokerControl
from rabbitjobs.testing.wire.kit import (
    MakeWire,
    WireFixtures,
    connected,
    consume,
    eventually,
    left_behind,
    message,
    publish,
    publish_all,
    ready_becomes,
)
from rabbitjobs.wire.protocol import (
    CONFIRMED,
    Wire,
)


class ConsumerEndConformance(WireFixtures):
    """Every way in which a consumer ends, and looking at what it consumes."""

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
        assert await left_behind(wire, "q", 1) == 1
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
        assert await left_behind(wire, "q", 2) == 2
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
