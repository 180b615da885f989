"""What each version counts as a delivery, and what a consumer timeout does there: pinned.

The outcome of a job rests on none of these differences; the tests below the pins say so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rabbitjobs.broker.management import Management, management_of
from rabbitjobs.broker.node import Node
from rabbitjobs.broker.url import parse_urls
from rabbitjobs.broker.version import Generation, from_version
from rabbitjobs.errors import ChannelClosed, ConnectionLost, TopologyMismatch, TopologyRefused
from rabbitjobs.testing.control import RabbitControl
from rabbitjobs.testing.wire.kit import Inbox, connected, consume, message, publish
from rabbitjobs.wire.pika import PikaWire
from tests.brokers import wanted_version
from tests.pitfalls.shop import MakeWire, Shop, shop, until


async def count(control: RabbitControl) -> int:
    """The delivery count that the next consumer is shown."""
    async with connected(PikaWire, control) as wire:
        _, inbox = await consume(wire, "q", prefetch=1)
        return int((await inbox.next()).properties.headers.get("x-delivery-count", 0))


@pytest.fixture
def generation(node: Node) -> Generation:
    """Which of the three families of versions this run is about."""
    return from_version(node.version).generation


async def cancel_nack_close(consumer: Any, inbox: Inbox) -> None:
    """The drain of a worker of ours."""
    await consumer.cancel()
    consumer.nack(inbox.seen[0].tag)
    await consumer.sync()
    await consumer.close()


async def reject(consumer: Any, inbox: Inbox) -> None:
    await consumer.cancel()
    consumer._channel.basic_reject(inbox.seen[0].tag, requeue=True)
    await consumer.sync()
    await consumer.close()


async def close_without_settling(consumer: Any, inbox: Inbox) -> None:
    await consumer.close()


async def nack_without_cancelling(consumer: Any, inbox: Inbox) -> None:
    """It comes straight back to the same consumer, and then the channel closes upon it."""
    consumer.nack(inbox.seen[0].tag)
    await inbox.next()
    await consumer.close()


@pytest.mark.parametrize(
    ("hand_back", "counted"),
    [
        (cancel_nack_close, {"3.10": 1, "4.0": 1, "4.3": 0}),
        (reject, {"3.10": 1, "4.0": 1, "4.3": 1}),
        (close_without_settling, {"3.10": 1, "4.0": 1, "4.3": 1}),
        (nack_without_cancelling, {"3.10": 2, "4.0": 2, "4.3": 1}),
    ],
)
async def test_what_counts_as_a_delivery(
    control: RabbitControl,
    generation: Generation,
    hand_back: Callable[[Any, Inbox], Awaitable[None]],
    counted: dict[str, int],
) -> None:
    """The delivery limit counts these; a drain of ours counts on 4.0 and 3.10 only."""
    await control.declare_queue("q")
    async with connected(PikaWire, control) as wire:
        await publish(wire, message("q"))
        consumer, inbox = await consume(wire, "q", prefetch=1)
        await inbox.next()
        await hand_back(consumer, inbox)
        assert await count(control) == counted[generation]


# --- consumer timeouts ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def impatient() -> Iterator[Node]:
    """A node that takes a delivery back after a second, and looks often."""
    with Node(version=wanted_version(), settings={"consumer_timeout": "1000"}) as node:
        node.eval("application:set_env(rabbit, channel_tick_interval, 500).")
        yield node


async def test_what_a_consumer_timeout_does(impatient: Node, generation: Generation) -> None:
    """4.3 cancels, counts nothing, and swallows the late ack; before, the channel closes."""
    control = RabbitControl(impatient.create_vhost(), alarm=lambda _: None)
    await control.start()
    await control.declare_queue("q")
    async with connected(PikaWire, control) as wire:
        await publish(wire, message("q"))
        consumer, inbox = await consume(wire, "q", prefetch=1)
        got = await inbox.next()
        reason = await inbox.over()
        if generation == "4.3":
            assert "cancelled" in reason
            consumer.ack(got.tag)
            await consumer.sync()
        else:
            assert "timeout" in reason.lower()
            with pytest.raises((ConnectionLost, ChannelClosed)):
                await consumer.sync()
        assert await count(control) == (0 if generation == "4.3" else 1)
    await control.close()


async def test_pitfall_10_a_job_longer_than_the_consumer_timeout_runs_once(
    impatient: Node, make_wire: MakeWire, tmp_path: Path
) -> None:
    """Taken away, subscribed anew, adopted: one run in this process, one outcome everywhere."""
    async with shop(impatient, tmp_path, make_wire) as found:
        found.gate("long")
        await found.send("long")
        async with found.working():
            await until(lambda: found.ran["long"])
            await until(lambda: found.said("DeliveryAdopted"))
            for number in range(20):
                await found.send(f"short {number}")
            await found.done(*found.confirmed[1:])
            found.gate("long").set()
            await found.done("long")
            await found.empties()
        assert set(found.ran.values()) == {1}
        assert "failed" in found.states()
        assert not found.said("JobAbandoned")


# --- time limits ------------------------------------------------------------------------------


async def test_a_time_limit_sets_the_timeout_or_is_refused_with_what_to_set(
    node: Node, make_wire: MakeWire, tmp_path: Path, generation: Generation
) -> None:
    """By policy on 4.x; on 3.10 only the node's own configuration could."""
    config = "time_limit: 2h"
    if generation == "3.10":
        with pytest.raises(TopologyRefused, match=r"consumer_timeout in its rabbitmq\.conf"):
            async with shop(node, tmp_path, make_wire, queue=config):
                pass
        return
    async with shop(node, tmp_path, make_wire, queue=config) as found:
        with management_of(parse_urls(found.app.url)[0], node.management_url) as management:
            policy = next(
                one for one in management.policies(found.vhost) if one["name"] == "shop.q.work"
            )
            assert policy["definition"]["consumer-timeout"] == (2 * 60 + 1) * 60_000
            await asyncio.to_thread(refused_under_an_operator, found, management)


def refused_under_an_operator(found: Shop, management: Management) -> None:
    """A worker does not start where an operator policy takes its jobs back too soon."""
    found.app.parts.verify("work")
    caps = {"pattern": r"shop\.q\.", "definition": {"consumer-timeout": 60_000}}
    path = f"operator-policies/{found.vhost}/caps"
    response = management._request("PUT", path, caps | {"apply-to": "queues"}, accept=(400,))
    if response.status == 400:
        return  # this version lets no operator policy set it
    with pytest.raises(TopologyMismatch, match="above the time_limit of 2h, got 1m in effect"):
        found.app.parts.verify("work")
