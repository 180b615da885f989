"""Pitfalls of publishing: rows 2, 3, 5, 6, 12, 13 and 14."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rabbitjobs.broker.node import Node
from rabbitjobs.errors import (
    BrokerBlocked,
    ChannelClosed,
    ConnectionLost,
    SendUnknown,
    TooLarge,
    Unroutable,
)
from rabbitjobs.testing.control import RabbitControl
from rabbitjobs.testing.wire.kit import connected, consume, message, start_publish
from rabbitjobs.wire.aio_pika_channel import undisturbed
from rabbitjobs.wire.protocol import CONFIRMED, Outcome, Outgoing, Rejected
from rabbitjobs.wire.session import Session
from tests.pitfalls.shop import MakeWire, on_both_wires, shop, until
from tests.pitfalls.test_consuming import alarm, delete, port_of
from tests.proxy import proxy


async def test_pitfall_02_two_publishes_with_one_message_id_keep_their_results(
    node: Node, make_wire: MakeWire, tmp_path: Path
) -> None:
    """One job id, sent at once to a queue that is there and to one that is gone."""
    async with shop(node, tmp_path, make_wire, queue="}, gone: {") as found:
        await asyncio.to_thread(delete, node, found, "shop.q.gone")
        gone = found.app.remote("mark", queue="gone")
        for turn in range(10):
            calls = [
                sender.options(id=f"twin {turn}").asend("x")
                for sender in ((gone, found.job) if turn % 2 else (found.job, gone))
            ]
            results = await asyncio.gather(*calls, return_exceptions=True)
            lost, stored = results if turn % 2 else reversed(results)
            assert isinstance(lost, Unroutable)
            assert not isinstance(stored, BaseException)
        assert await found.total() == 10


async def test_pitfall_03_an_unroutable_job_is_an_error(
    node: Node, make_wire: MakeWire, tmp_path: Path
) -> None:
    """It is never confirmed and never silent: mandatory, and the return decides."""
    async with shop(node, tmp_path, make_wire) as found:
        await found.send("there")
        await asyncio.to_thread(delete, node, found, "shop.q.work")
        for _ in range(3):
            with pytest.raises(Unroutable):
                await found.job.asend("nobody takes it")


async def test_pitfall_05_a_black_hole_ends_at_our_own_deadline(
    node: Node, make_wire: MakeWire, tmp_path: Path
) -> None:
    """As Unknown, whatever the heartbeat is; not as a CancelledError, and not a minute later."""
    async with (
        proxy(port_of(node)) as line,
        shop(node, tmp_path, make_wire, port=line.port) as found,
    ):
        await found.send("first")
        line.swallow()
        started = time.monotonic()
        with pytest.raises(SendUnknown):
            await found.job.options(timeout=1).asend("second")
        assert time.monotonic() - started < 3
        task = asyncio.current_task()
        assert task is not None and not task.cancelling()


async def test_pitfall_06_a_cut_is_never_a_cancellation_of_ours(
    make_wire: MakeWire, control: RabbitControl
) -> None:
    """Every call in flight raises our own errors, or gives an outcome; no task is cancelled."""
    await control.declare_queue("q")
    for _ in range(3):
        async with connected(make_wire, control) as wire:
            consumer, _ = await consume(wire, "q")
            await control.hold_answers()
            asked: list[asyncio.Future[Any]] = [
                asyncio.ensure_future(call)
                for call in (
                    consumer.sync(),
                    wire.inspect_queue("q"),
                    wire.inspect_exchange("amq.direct"),
                    consume(wire, "q"),
                    wire.temporary_queue("t", exchange="amq.direct", keys=["k"]),
                )
            ]
            published = [start_publish(wire, message("q")) for _ in range(5)]
            await asyncio.sleep(0.05)
            await control.drop_connections()
            async with asyncio.timeout(60):
                ended = await asyncio.gather(*asked, return_exceptions=True)
                outcomes = await asyncio.gather(*published)
            assert not any(future.cancelled() for future in asked)
            assert all(isinstance(each, ConnectionLost | ChannelClosed) for each in ended)
            assert len(outcomes) == 5


async def test_pitfall_06_a_bare_cancelled_error_of_the_library_is_a_lost_connection() -> None:
    """Though nobody cancelled anything; a caller that was cancelled hears just that."""
    forever = asyncio.get_running_loop().create_future()

    async def cancels_itself() -> None:
        raise asyncio.CancelledError

    with pytest.raises(ConnectionLost):
        await undisturbed(cancels_itself(), connection=None)
    caller = asyncio.ensure_future(undisturbed(forever, connection=None))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert not forever.cancelled()
    forever.set_result(None)
    await asyncio.sleep(0)


def hand_over(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[Outcome], outcome: Outcome
) -> None:
    """From the I/O thread to ours."""
    loop.call_soon_threadsafe(future.set_result, outcome)


async def publish_many(
    make_wire: MakeWire, control: RabbitControl, messages: list[Outgoing]
) -> list[Outcome]:
    """As the publisher does: over a session, with deadlines and repeats."""
    session = Session(make_wire, [control.address], name="pitfall")
    loop = asyncio.get_running_loop()
    futures: list[asyncio.Future[Outcome]] = [loop.create_future() for _ in messages]
    try:
        for outgoing, future in zip(messages, futures, strict=True):
            session.publish(outgoing, 60, partial(hand_over, loop, future))
        return list(await asyncio.gather(*futures))
    finally:
        await asyncio.to_thread(session.close)


async def test_pitfall_12_one_bad_publish_fails_no_neighbour(
    make_wire: MakeWire, control: RabbitControl
) -> None:
    """A missing exchange closes the channel, and a field that is too long cannot be written."""
    await control.declare_queue("q")
    messages = [message("q", str(number).encode()) for number in range(40)]
    messages[10] = message("q", exchange="is-not-there")
    messages[20] = message("q", correlation_id="i" * 256)
    messages[30] = message("q", exchange="is-not-there-either")
    outcomes = await publish_many(make_wire, control, messages)
    bad = {10, 20, 30}
    for number, outcome in enumerate(outcomes):
        if number in bad:
            assert isinstance(outcome, Rejected), (number, outcome)
        else:
            assert outcome == CONFIRMED, (number, outcome)


async def test_pitfall_12_a_body_that_is_too_large_never_reaches_the_channel(
    node: Node, make_wire: MakeWire, tmp_path: Path
) -> None:
    """The broker would close the channel upon it, and fail whatever is in flight beside it."""
    async with shop(node, tmp_path, make_wire) as found:
        sends = [asyncio.ensure_future(found.send(f"job {number}")) for number in range(20)]
        with pytest.raises(TooLarge):
            await asyncio.gather(*sends, found.job.asend("x" * (17 << 20)))
        await asyncio.gather(*sends)
        await found.empties(count=20)


async def test_pitfall_13_an_alarm_makes_no_publish_a_failure_that_is_none(
    node: Node, make_wire: MakeWire, tmp_path: Path
) -> None:
    """Blocked is certain, Unknown is not; sent again under its id the job has one outcome."""
    async with shop(node, tmp_path, make_wire) as found:
        await found.send("before")
        await asyncio.to_thread(alarm, node, True)
        try:
            for turn in range(3):
                with pytest.raises((BrokerBlocked, SendUnknown)) as refused:
                    await found.job.options(id=f"job {turn}", timeout=0.5).asend(f"job {turn}")
                certain = isinstance(refused.value, BrokerBlocked)
                assert turn == 0 or certain, "the alarm is known by now"
                await until(lambda: found.app.parts.session().publishing.blocked)
        finally:
            await asyncio.to_thread(alarm, node, False)
        for turn in range(3):
            await found.send(f"job {turn}")
        async with found.working():
            await found.done()
            await found.empties()
        assert set(found.ran.values()) == {1}


async def test_pitfall_14_an_idle_connection_is_pumped_and_publishes_at_once(
    node: Node, tmp_path: Path
) -> None:
    """Idle for many heartbeats, while this thread does something else."""
    await on_both_wires(tmp_path, partial(idles_and_publishes, node))


async def idles_and_publishes(node: Node, folder: Path, make_wire: MakeWire) -> None:
    """Over one and the same connection."""
    async with (
        proxy(port_of(node)) as line,
        shop(node, folder, make_wire, port=line.port, options="?heartbeat=1") as found,
    ):
        await found.send("first")
        accepted = line.accepted
        # Four seconds are longer than the grace of three missed heartbeats: time is the subject.
        await asyncio.sleep(4)
        await found.job.options(timeout=5).asend("second")
        assert line.accepted == accepted
        assert await found.total() == 2
