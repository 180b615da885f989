"""A consumer that leaves its queue keeps nothing, and costs no message a count; on both wires."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable

import pytest

from rabbitjobs.broker.node import Node
from rabbitjobs.broker.url import Address, parse_urls
from rabbitjobs.testing.control import RabbitControl
from rabbitjobs.testing.wire.kit import connected, consume, left_behind, message, publish
from rabbitjobs.wire import leaving, subscription
from rabbitjobs.wire.link import Link
from rabbitjobs.wire.subscription import Handed, Subscription
from tests.frame_proxy import Frame, FrameProxy, between
from tests.pitfalls.shop import MakeWire, until

_CANCEL = b"\x00\x3c\x00\x1e"
_QOS_OK = b"\x00\x3c\x00\x0b"


class Mute(FrameProxy):
    """Once it is ``muted``, no answer to ``basic.qos`` comes."""

    muted = False

    def takes(self, frame: Frame) -> bool:
        return self.muted and frame.method == _QOS_OK


class Waiter(FrameProxy):
    """Does something once, before it passes a ``basic.cancel`` on."""

    first: Callable[[], Awaitable[object]] | None = None

    async def hear(self, frame: Frame) -> None:
        if frame.method == _CANCEL and self.first is not None:
            first, self.first = self.first, None
            await first()


def by_way_of(line: FrameProxy, control: RabbitControl) -> Address:
    return dataclasses.replace(control.address, port=line.port)


async def test_a_consumer_whose_last_round_trip_is_not_answered_gives_its_messages_back(
    node: Node, make_wire: MakeWire, control: RabbitControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The close is sent all the same, although the libraries would wait for that answer."""
    monkeypatch.setattr(leaving, "STOP_SECONDS", 0.2)
    port = parse_urls(node.vhost_url("/"))[0].port
    queue = "left"
    await control.declare_queue(queue)
    async with between(Mute(port)) as line, connected(make_wire, control) as other:
        wire = make_wire()
        await wire.open(by_way_of(line, control), name="pitfall")
        consumer, inbox = await consume(wire, queue, prefetch=1)
        await publish(other, message(queue))
        await inbox.next()
        line.muted = True
        assert await leaving.close(consumer)
        _, others = await consume(other, queue)
        assert (await others.next()).redelivered
        await wire.close()


async def test_what_comes_while_an_idle_consumer_subscribes_anew_is_no_failed_delivery(
    node: Node, make_wire: MakeWire, control: RabbitControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is handed on, its channel stays until it is acked, and it never comes again."""
    monkeypatch.setattr(subscription, "LOOK_SECONDS", 0.05)
    port = parse_urls(node.vhost_url("/"))[0].port
    queue = "left"
    await control.declare_queue(queue)
    handed: list[Handed] = []
    states: list[str] = []
    async with between(Waiter(port)) as line, connected(make_wire, control) as other:

        async def one_comes() -> None:
            monkeypatch.setattr(subscription, "LOOK_SECONDS", 60)
            await publish(other, message(queue))
            await until(lambda: handed)

        line.first = one_comes
        link = Link(make_wire, [by_way_of(line, control)], name="pitfall")
        link.start()
        reader = Subscription(
            link,
            queue,
            prefetch=5,
            deliver=handed.extend,
            changed=lambda state, _: states.append(state),
        )
        await until(lambda: states.count("consuming") == 2)
        await publish(other, message(queue))
        await until(lambda: len(handed) == 2)
        assert handed[0].epoch < handed[1].epoch
        for one in handed:
            assert not one.delivery.redelivered
            reader.ack(one)
        await reader.stop()
        await reader.finish()
        assert reader.stale == 0
        assert await left_behind(other, queue) == 0
        await link.close()
        assert await asyncio.to_thread(node.messages_total, control.address.vhost, queue) == 0
