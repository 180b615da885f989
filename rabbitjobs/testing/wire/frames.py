"""Conformance of frames: a scripted broker says what a real one says only when it is unlucky."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pika import spec

from rabbitjobs.message.properties import Properties
from rabbitjobs.testing.wire.kit import PATIENCE, Ends, MakeWire, WireFixtures, consume
from rabbitjobs.testing.wire.raw import POISON, raw_header, table
from rabbitjobs.testing.wire.scripted import ScriptedBroker, delivered
from rabbitjobs.wire.protocol import Confirmed, Outcome, Outgoing, Rejected

Ack, Nack = spec.Basic.Ack, spec.Basic.Nack
_BODIES = [b"", b"x", b"0123456789" * 30, b"", b"end"]


class FrameConformance(WireFixtures):
    """Confirms in any order, goodbyes, and a stream that is cut anywhere."""

    @pytest.mark.parametrize(
        ("script", "expected"),
        [
            ([Ack(1), Ack(2), Ack(3)], ["ok", "ok", "ok"]),
            ([Ack(3), Ack(1), Ack(2)], ["ok", "ok", "ok"]),
            ([Ack(3, True)], ["ok", "ok", "ok"]),
            ([Ack(2), Ack(3, True)], ["ok", "ok", "ok"]),
            ([Nack(2), Ack(3, True)], ["ok", "nacked", "ok"]),
            ([Nack(2, True), Ack(3)], ["nacked", "nacked", "ok"]),
            ([Ack(3), Nack(2, True)], ["nacked", "nacked", "ok"]),
            ([("return", 2), Ack(3, True)], ["ok", "unroutable", "ok"]),
            (
                [("return", 1), ("return", 3), Ack(2, True), Ack(3)],
                ["unroutable", "ok", "unroutable"],
            ),
            ([("return", 2), Ack(3), Ack(2), Ack(1)], ["ok", "unroutable", "ok"]),
        ],
    )
    async def test_each_publish_gets_its_own_outcome_in_whatever_order_they_come(
        self, make_wire: MakeWire, script: list[Any], expected: list[str]
    ) -> None:
        """Singly, several at once, late, and with returns between them."""
        assert await outcomes_of(make_wire, 3, script) == expected

    async def test_a_connection_closed_by_the_broker_leaves_the_unconfirmed_unknown(
        self, make_wire: MakeWire
    ) -> None:
        """What was answered before stays answered."""
        goodbye = spec.Connection.Close(320, "CONNECTION_FORCED - broker forced", 0, 0)
        script = [Ack(1), Nack(2), (0, goodbye)]
        assert await outcomes_of(make_wire, 4, script) == ["ok", "nacked", "unknown", "unknown"]

    async def test_a_channel_closed_by_the_broker_is_said_to_be_only_that(
        self, make_wire: MakeWire
    ) -> None:
        """The connection lives on, and the two that are left may be stored."""
        goodbye = spec.Channel.Close(406, "PRECONDITION_FAILED - something", 60, 40)
        expected = ["ok", "unknown channel", "unknown channel"]
        assert await outcomes_of(make_wire, 3, [Ack(1), goodbye]) == expected

    async def test_the_only_message_in_flight_is_the_one_that_closed_the_channel(
        self, make_wire: MakeWire
    ) -> None:
        """So it is certain that it was refused."""
        goodbye = spec.Channel.Close(406, "PRECONDITION_FAILED - something", 60, 40)
        assert await outcomes_of(make_wire, 2, [Ack(1), goodbye]) == ["ok", "refused"]

    @pytest.mark.parametrize("piece", [1, 2, 3, 7, 8, 64])
    async def test_confirms_are_heard_wherever_the_stream_is_cut(
        self, make_wire: MakeWire, piece: int
    ) -> None:
        """The handshake too comes in pieces."""
        script = [("return", 2), Nack(1), Ack(3, True)]
        outcomes = await outcomes_of(make_wire, 3, script, piece=piece)
        assert outcomes == ["nacked", "unroutable", "ok"]

    @pytest.mark.parametrize("most", [1, 100, 131_064])
    @pytest.mark.parametrize("piece", [0, 1, 2, 3, 7, 8, 64])
    async def test_deliveries_arrive_whole_wherever_the_stream_is_cut(
        self, make_wire: MakeWire, piece: int, most: int
    ) -> None:
        """Empty bodies, one frame, several frames, and a poison message between them."""
        broker = ScriptedBroker(deliveries=lambda *to: _deliveries(*to, most=most), piece=piece)
        async with broker.running() as address:
            wire = make_wire()
            Ends(wire)
            async with asyncio.timeout(PATIENCE):
                await wire.open(address, name="scripted")
                consumer, inbox = await consume(wire, "q")
                got = await inbox.take(len(_BODIES) + 1)
                consumer.ack(got[-1].tag, multiple=True)
                await consumer.sync()
                await wire.close()
        assert [each.body for each in got] == [*_BODIES, b"bad"]
        assert [each.tag for each in got] == list(range(1, len(_BODIES) + 2))
        assert [bool(each.damage) for each in got] == [False] * len(_BODIES) + [True]
        assert got[1].properties.headers == {"n": "1"}
        assert [str(each) for each in broker.heard if isinstance(each, Ack)] == [
            str(Ack(len(_BODIES) + 1, True))
        ]


def _deliveries(channel: int, consumer: str, *, most: int) -> bytes:
    data = b""
    for number, body in enumerate(_BODIES):
        text = str(number).encode()
        fields = table(b"\x01nS" + len(text).to_bytes(4, "big") + text)
        header = raw_header(len(body), 0x2000, fields)
        data += delivered(channel, consumer, number + 1, header, body, most=most)
    poison = raw_header(3, *POISON["a timestamp of 2^62"])
    return data + delivered(channel, consumer, len(_BODIES) + 1, poison, b"bad", most=most)


async def outcomes_of(
    make_wire: MakeWire, count: int, script: list[Any], *, piece: int = 0
) -> list[str]:
    """Publish ``count`` messages at once to a scripted broker; the outcomes in a word each."""
    async with ScriptedBroker(count, script, piece=piece).running() as address:
        wire = make_wire()
        wire.closed = lambda _: None
        async with asyncio.timeout(PATIENCE):
            await wire.open(address, name="scripted")
            loop = asyncio.get_running_loop()
            futures: list[asyncio.Future[Outcome]] = [loop.create_future() for _ in range(count)]
            for number, future in enumerate(futures):
                message = Outgoing("", "q", Properties(message_id=str(number)), b"")
                wire.publish(message, future.set_result)
            outcomes = await asyncio.gather(*futures)
            await wire.close()
    return [_word(outcome) for outcome in outcomes]


def _word(outcome: Outcome) -> str:
    if isinstance(outcome, Confirmed):
        return "ok"
    if isinstance(outcome, Rejected):
        return outcome.reason
    return "unknown channel" if outcome.channel else "unknown"
