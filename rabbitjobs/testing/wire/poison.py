"""Conformance in the face of poison messages."""

from __future__ import annotations

import struct

import pytest

from rabbitjobs.testing.control import BrokerControl
from rabbitjobs.testing.wire.kit import (
    WireFixtures,
    consume,
    left_behind,
    message,
    publish,
)
from rabbitjobs.testing.wire.raw import POISON, raw_header, table
from rabbitjobs.wire.guard import DAMAGE
from rabbitjobs.wire.protocol import (
    CONFIRMED,
    Wire,
)


class PoisonConformance(WireFixtures):
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
            "A": (b"A" + table(b"t\x01V"), [True, None]),
            "F": (b"F" + table(b"\x01kT" + struct.pack(">Q", 1)), {"k": 1}),
        }
        joined = b"".join(b"\x01" + key.encode() + raw for key, (raw, _) in fields.items())
        await broker.publish_raw("q", b"q", raw_header(1, 0x2000, table(joined)), b"x")
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
