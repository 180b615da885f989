"""Confirms in any order, and goodbyes, as a broker may send them: each publish gets its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from pika import spec

from rabbitjobs.message.properties import Properties
from rabbitjobs.wire.aio_pika import AioPikaWire
from rabbitjobs.wire.pika import PikaWire
from rabbitjobs.wire.protocol import Confirmed, Outcome, Outgoing, Rejected, Wire
from tests.unit.wire.scripted import ScriptedBroker

Ack, Nack = spec.Basic.Ack, spec.Basic.Nack


@pytest.fixture(params=[PikaWire, AioPikaWire], ids=["pika", "aio-pika"])
def make_wire(request: pytest.FixtureRequest) -> Callable[[], Wire]:
    made: Callable[[], Wire] = request.param
    return made


async def outcomes_of(make_wire: Callable[[], Wire], count: int, script: list[Any]) -> list[str]:
    """Publish ``count`` messages at once to a scripted broker; the outcomes in a word each."""
    async with ScriptedBroker(count, script).running() as address:
        wire = make_wire()
        wire.closed = lambda _: None
        async with asyncio.timeout(10):
            await wire.open(address, name="scripted")
            loop = asyncio.get_running_loop()
            futures: list[asyncio.Future[Outcome]] = [loop.create_future() for _ in range(count)]
            for number, future in enumerate(futures):
                message = Outgoing("", "q", Properties(message_id=str(number)), b"")
                wire.publish(message, future.set_result)
            outcomes = await asyncio.gather(*futures)
            await wire.close()
    return [word(outcome) for outcome in outcomes]


def word(outcome: Outcome) -> str:
    if isinstance(outcome, Confirmed):
        return "ok"
    if isinstance(outcome, Rejected):
        return outcome.reason
    return "unknown channel" if outcome.channel else "unknown"


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
        ([("return", 1), ("return", 3), Ack(2, True), Ack(3)], ["unroutable", "ok", "unroutable"]),
        ([("return", 2), Ack(3), Ack(2), Ack(1)], ["ok", "unroutable", "ok"]),
    ],
)
async def test_each_publish_gets_its_own_outcome_in_whatever_order_they_come(
    make_wire: Callable[[], Wire], script: list[Any], expected: list[str]
) -> None:
    assert await outcomes_of(make_wire, 3, script) == expected


async def test_a_connection_closed_by_the_broker_leaves_the_unconfirmed_unknown(
    make_wire: Callable[[], Wire],
) -> None:
    goodbye = spec.Connection.Close(320, "CONNECTION_FORCED - broker forced", 0, 0)
    script = [Ack(1), Nack(2), (0, goodbye)]
    assert await outcomes_of(make_wire, 4, script) == ["ok", "nacked", "unknown", "unknown"]


async def test_a_channel_closed_by_the_broker_is_said_to_be_only_that(
    make_wire: Callable[[], Wire],
) -> None:
    goodbye = spec.Channel.Close(406, "PRECONDITION_FAILED - something", 60, 40)
    script = [Ack(1), goodbye]
    assert await outcomes_of(make_wire, 3, script) == ["ok", "unknown channel", "unknown channel"]


async def test_the_only_message_in_flight_is_the_one_that_closed_the_channel(
    make_wire: Callable[[], Wire],
) -> None:
    goodbye = spec.Channel.Close(406, "PRECONDITION_FAILED - something", 60, 40)
    assert await outcomes_of(make_wire, 2, [Ack(1), goodbye]) == ["ok", "refused"]
