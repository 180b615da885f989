"""Conformance of publishing."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from rabbitjobs.testing.control import BrokerControl
from rabbitjobs.testing.wire.kit import (
    PATIENCE,
    WireFixtures,
    consume,
    left_behind,
    message,
    publish,
    publish_all,
)
from rabbitjobs.testing.wire.raw import raw_header
from rabbitjobs.wire.protocol import (
    CONFIRMED,
    Confirmed,
    Outcome,
    Rejected,
    Unknown,
    Wire,
)

_LIMITED = {"x-max-length": 1, "x-overflow": "reject-publish", "x-queue-type": "classic"}


class PublishConformance(WireFixtures):
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
                "text": "텍스트",
                "int": 7,
                "long": 2**40,
                "negative": -1,
                "yes": True,
                "none": None,
                "list": ["a", 1, {"deep": False}],
                "table": {"k": "v"},
                "bytes": b"\xff\x00",
            },
        )
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
        await broker.declare_queue("full", _LIMITED)
        assert await publish(wire, message("full")) == CONFIRMED
        outcome = await publish(wire, message("full"))
        assert isinstance(outcome, Rejected) and outcome.reason == "nacked"
        assert await left_behind(wire, "full", 1) == 1

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
        await broker.declare_queue("full", _LIMITED)
        assert await publish(wire, message("full")) == CONFIRMED
        keys = ["q", "nowhere", "c", "full", "q", "c", "nowhere"] * 60
        outcomes = await publish_all(wire, [message(key) for key in keys])
        expected = {"q": "stored", "c": "stored", "full": "nacked", "nowhere": "unroutable"}
        got = [each.reason if isinstance(each, Rejected) else "stored" for each in outcomes]
        assert got == [expected[key] for key in keys]
        assert await left_behind(wire, "q", 120) == 120
        assert await left_behind(wire, "c", 120) == 120

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
        assert await left_behind(wire, "q", 2) == 2

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
