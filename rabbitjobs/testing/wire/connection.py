"""Conformance of connections."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from rabbitjobs.errors import AccessRefused, ChannelClosed, ConnectionLost
from rabbitjobs.secret import Secret
from rabbitjobs.testing.control import BrokerControl
from rabbitjobs.testing.wire.kit import (
    PATIENCE,
    Ends,
    MakeWire,
    WireFixtures,
    connected,
    consume,
    eventually,
    left_behind,
    message,
    publish,
    publish_all,
    start_publish,
)
from rabbitjobs.wire.protocol import (
    CONFIRMED,
    Delivery,
    Rejected,
    Unknown,
    Wire,
)


class ConnectionConformance(WireFixtures):
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

        async def stored() -> bool:
            return await broker.ready("q") == len(futures)

        await eventually(stored, "all messages to be stored")
        assert not any(future.done() for future in futures)
        await broker.drop_connections()
        async with asyncio.timeout(PATIENCE):
            outcomes = await asyncio.gather(*futures)
        assert all(isinstance(each, Unknown) and not each.channel for each in outcomes)
        await ends.until(lambda heard: bool(heard.closed))
        await wire.close()
        assert len(ends.closed) == 1
        async with connected(make_wire, broker) as other:
            assert await left_behind(other, "q") == 5

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
                assert "memory" in wire.alarm
                consumer.ack(inbox.seen[0].tag)
                second = await inbox.next()
                consumer.ack(second.tag)
                await consumer.sync()
                assert not waiting.done()
            finally:
                await broker.unblock()
            await ends.until(lambda heard: heard.blocked == [True, False])
            assert wire.alarm == ""
            async with asyncio.timeout(PATIENCE):
                assert await waiting == CONFIRMED
            assert (await inbox.next()).body == b"late"


class NetworkConformance(WireFixtures):
    """What only a wire over a network can meet."""

    async def test_a_connection_that_fell_silent_is_noticed_by_its_heartbeats(
        self, make_wire: MakeWire, broker: BrokerControl
    ) -> None:
        """A black hole: bytes leave, nothing comes back, and no socket says so."""
        await broker.declare_queue("q")
        wire = make_wire()
        ends = Ends(wire)
        await wire.open(dataclasses.replace(broker.address, heartbeat=1), name="conformance")
        await broker.hold_answers()
        waiting = start_publish(wire, message("q"))
        await ends.until(lambda heard: bool(heard.closed))
        assert isinstance(await waiting, Unknown)
        async with asyncio.timeout(PATIENCE):
            await wire.close()
        assert len(ends.closed) == 1

    async def test_what_cannot_be_connected_raises_connection_lost(
        self, make_wire: MakeWire, broker: BrokerControl
    ) -> None:
        """A closed port, a wrong password, a missing vhost; and close is fine after each."""
        good = broker.address
        for address, said in (
            (dataclasses.replace(good, port=1), "refused"),
            (dataclasses.replace(good, password=Secret("wrong")), "ACCESS_REFUSED"),
            (dataclasses.replace(good, vhost="no-such-vhost"), "no-such-vhost not found"),
        ):
            wire = make_wire()
            ends = Ends(wire)
            with pytest.raises(ConnectionLost) as error:
                async with asyncio.timeout(PATIENCE):
                    await wire.open(address, name="conformance")
            text = str(error.value)
            assert isinstance(error.value, AccessRefused) == (address.port == good.port)
            assert said.lower() in text.lower()
            assert good.password.reveal() not in text and "wrong" not in text
            await wire.close()
            assert ends.closed == []
