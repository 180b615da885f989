"""Pitfalls of consuming: rows 1, 4, 7, 9, 10 and 11 of what the client libraries really do."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from pathlib import Path
from typing import Any

import pika
import pytest

from rabbitjobs.broker.node import Node
from rabbitjobs.broker.url import parse_urls
from rabbitjobs.consumer import consumer as consumer_module
from rabbitjobs.consumer import faults as faults_module
from rabbitjobs.consumer.handle import Handler
from rabbitjobs.testing.control import RabbitControl
from rabbitjobs.testing.wire.kit import connected, consume, message, publish
from rabbitjobs.testing.wire.raw import POISON, raw_header
from tests.pitfalls.shop import MakeWire, Shop, on_both_wires, shop, until
from tests.proxy import proxy


def port_of(node: Node) -> int:
    return parse_urls(node.vhost_url("/"))[0].port


async def test_pitfall_01_a_closed_connection_cancels_no_running_job(
    node: Node, make_wire: MakeWire, tmp_path: Path
) -> None:
    """Its message comes again and is adopted: one run, one outcome."""
    async with (
        proxy(port_of(node)) as line,
        shop(node, tmp_path, make_wire, port=line.port) as found,
        found.working(),
    ):
        gate = found.gate("long")
        await found.send("long")
        await until(lambda: found.ran["long"])
        line.reset()
        await until(lambda: found.said("DeliveryAdopted"))
        gate.set()
        await found.done()
        await found.empties()
        assert (found.ran["long"], found.ended["long"]) == (1, 1)


async def test_pitfall_04_an_undecodable_message_stops_no_worker(
    node: Node, make_wire: MakeWire, tmp_path: Path
) -> None:
    """It goes to quarantine with its bytes, the connection stays, and its neighbours are done."""
    async with (
        proxy(port_of(node)) as line,
        shop(node, tmp_path, make_wire, port=line.port) as found,
        raw(node, found) as control,
    ):
        for number, (flags, fields) in enumerate(POISON.values()):
            await found.send(f"good {number}")
            header = raw_header(3, flags, fields)
            await control.publish_raw("shop.q.work", b"work", header, b"bad")
        await control.publish_raw("shop.q.work", b"\xff", raw_header(3, 0, b""), b"bad")
        async with found.working(slots=20):
            accepted = line.accepted
            await found.done()
            await found.empties()
            await found.empties("quarantine", len(POISON) + 1)
            assert line.accepted == accepted
        assert set(found.ran.values()) == {1}
        kept = await asyncio.to_thread(drained, node, found, "shop.quarantine")
        for _, fields in POISON.values():
            assert any(fields in raw for raw, _ in kept)
        assert {body for _, body in kept} == {b"bad"}


@contextlib.asynccontextmanager
async def raw(node: Node, found: Shop) -> Any:
    control = RabbitControl(node.vhost_url(found.vhost), alarm=lambda _: None)
    await control.start()
    yield control
    await control.close()


def drained(node: Node, found: Shop, queue: str) -> list[tuple[bytes, bytes]]:
    """Take everything out of the quarantine: raw headers and bodies."""
    connection = pika.BlockingConnection(pika.URLParameters(node.vhost_url(found.vhost)))
    taken: list[tuple[bytes, bytes]] = []
    try:
        channel = connection.channel()
        while True:
            method, properties, body = channel.basic_get(queue, auto_ack=True)
            if method is None or properties is None:
                return taken
            headers: dict[str, Any] = properties.headers or {}
            taken.append((bytes(headers.get("x-rj-raw", b"")), body or b""))
    finally:
        connection.close()


async def test_pitfall_07_an_ack_that_returned_proves_nothing(node: Node, tmp_path: Path) -> None:
    """Sent into a black hole it is lost, and the message comes back: the outcome counts once."""
    await on_both_wires(tmp_path, partial(acks_into_a_black_hole, node))


async def acks_into_a_black_hole(node: Node, folder: Path, make_wire: MakeWire) -> None:
    """One job, whose ack gets lost."""
    async with (
        proxy(port_of(node)) as line,
        shop(node, folder, make_wire, port=line.port, options="?heartbeat=1") as found,
        found.working(),
    ):
        gate = found.gate("one")
        await found.send("one")
        await until(lambda: found.ran["one"])
        line.swallow()
        gate.set()
        await until(lambda: found.said("JobSucceeded"))
        await until(lambda: found.said("DuplicateDropped"))
        await found.empties()
        assert (found.ran["one"], len(found.said("JobSucceeded"))) == (1, 1)


async def test_pitfall_07_acks_go_on_while_an_alarm_blocks_publishers(
    node: Node, make_wire: MakeWire, tmp_path: Path
) -> None:
    """Consuming and acking has a connection of its own, which never publishes."""
    async with shop(node, tmp_path, make_wire) as found, raw(node, found):
        for number in range(50):
            await found.send(f"job {number}")
        await asyncio.to_thread(alarm, node, True)
        try:
            async with found.working(slots=5):
                await found.done()
                await found.empties()
        finally:
            await asyncio.to_thread(alarm, node, False)


def alarm(node: Node, on: bool) -> None:
    where = "{resource_limit, memory, node()}"
    call = f"set_alarm({{{where}, []}})" if on else f"clear_alarm({where})"
    node.eval(f"rabbit_alarm:{call}.")


async def test_pitfall_09_a_cancelled_question_harms_no_consumer(
    make_wire: MakeWire, control: RabbitControl
) -> None:
    """Whoever asks the broker something and gives up, at whatever moment, disturbs nobody."""
    await control.declare_queue("q")
    async with connected(make_wire, control) as wire:
        consumer, inbox = await consume(wire, "q", prefetch=1)
        await publish(wire, message("q", b"held"))
        held = await inbox.next()
        for turns in range(12):
            for ask in (wire.inspect_queue, wire.inspect_queue, lambda _: consumer.sync()):
                asking = asyncio.ensure_future(ask("q"))
                for _ in range(turns):
                    await asyncio.sleep(0)
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
        await publish(wire, message("q", b"next"))
        assert inbox.cancelled == []
        consumer.ack(held.tag)
        following = await inbox.next()
        assert (following.body, following.redelivered) == (b"next", False)


async def test_pitfall_10_a_cancel_by_the_server_is_heard_and_answered(
    node: Node, make_wire: MakeWire, tmp_path: Path
) -> None:
    """A deleted queue makes the worker unhealthy; once it stands again, work goes on."""
    async with shop(node, tmp_path, make_wire) as found, found.working():
        await found.send("before")
        await found.done()
        await asyncio.to_thread(delete, node, found, "shop.q.work")
        await until(lambda: "failed" in found.states())
        await asyncio.to_thread(found.app.apply)
        await until(lambda: found.states().count("consuming") == 2)
        await found.send("after")
        await found.done()
        assert "waiting" not in found.states()


def delete(node: Node, found: Shop, queue: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(node.vhost_url(found.vhost)))
    connection.channel().queue_delete(queue)
    connection.close()


async def test_pitfall_11_a_handler_that_raises_leaks_no_slot(
    node: Node, make_wire: MakeWire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two slots and ten faults of our own, everything is done in the end."""
    faults = 10
    handle = Handler.handle

    async def broken(self: Handler, *args: Any, **kwargs: Any) -> None:
        nonlocal faults
        if faults:
            faults -= 1
            raise RuntimeError("a fault of ours")
        await handle(self, *args, **kwargs)

    monkeypatch.setattr(Handler, "handle", broken)
    monkeypatch.setattr(consumer_module, "FAULT_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(faults_module, "FAULTS_BEFORE_REVIEW", 100)
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    async with shop(node, tmp_path, make_wire) as found:
        for number in range(20):
            await found.send(f"job {number}")
        async with found.working(slots=2):
            await found.done()
            await found.empties()
        assert faults == 0
        assert set(found.ran.values()) == {1}
