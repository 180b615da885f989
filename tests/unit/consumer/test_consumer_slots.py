"""Slots: adoption of redeliveries, reconnects, draining."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from rabbitjobs import events
from rabbitjobs.backend.protocol import Record
from rabbitjobs.broker.version import from_version
from rabbitjobs.consumer import consumer as module
from rabbitjobs.consumer.drained import Drained
from rabbitjobs.testing.memory import declare_plan
from rabbitjobs.topology.plan import compile_plan
from rabbitjobs.wire.subscription import Handed
from tests.unit.consumer.bench import SPEC, Bench


async def test_two_messages_of_one_attempt_never_run_at_the_same_time(bench: Bench) -> None:
    """The second waits for the first one's end."""
    running, most = 0, 0

    async def job() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.05)
        running -= 1

    bench.register(job)
    bench.put("i", "i", "other")
    await bench.consumer.start()
    await bench.settled()
    assert most <= 2
    assert len(bench.heard(events.JobSucceeded)) == 2
    assert len(bench.heard(events.DuplicateDropped)) == 1


async def test_a_redelivery_of_a_running_attempt_is_adopted(bench: Bench) -> None:
    """The connection broke: the job goes on, runs once, and is acked by its new tag."""
    gate = asyncio.Event()
    ran: list[int] = []

    async def job() -> None:
        ran.append(1)
        await gate.wait()

    bench.register(job)
    bench.put("i", "j")
    await bench.consumer.start()
    await bench.until(lambda: len(ran) == 2)
    bench.broker.drop_connections()
    await bench.until(lambda: len(bench.heard(events.DeliveryAdopted)) == 2)
    gate.set()
    await bench.settled()
    assert len(ran) == 2
    assert len(bench.heard(events.JobSucceeded)) == 2


async def test_a_second_copy_that_comes_to_a_new_consumer_is_no_redelivery(bench: Bench) -> None:
    """The first is still held by the one before, which left in order: each needs its own ack."""
    gate = asyncio.Event()
    bench.register(gate.wait)
    bench.put("i")
    await bench.consumer.start()
    await bench.until(lambda: bench.consumer.busy == 1)
    subscription, wire = bench.consumer._attachment._subscription, bench.session.consuming.wire
    assert subscription is not None and wire is not None
    await bench.session.portal.run(subscription._subscribe_again(wire))
    bench.put("i", "other")
    await bench.until(lambda: bench.consumer.busy == 2)
    gate.set()
    await bench.settled()
    assert bench.heard(events.DeliveryAdopted) == []
    assert len(bench.heard(events.DuplicateDropped)) == 1


async def test_after_a_reconnect_there_are_never_more_jobs_than_slots(bench: Bench) -> None:
    """The prefetch is free again while the old attempts still run; stale messages run once."""
    gates = {name: asyncio.Event() for name in "abcd"}
    ran: list[str] = []

    async def job(name: str) -> None:
        ran.append(name)
        await gates[name].wait()

    bench.register(job)
    for name in "ab":
        bench.put(name, body=f'{{"args":["{name}"]}}'.encode())
    await bench.consumer.start()
    await bench.until(lambda: len(ran) == 2)
    # Their records exist already, so they are dropped elsewhere: only new ones come now.
    for name in "cd":
        bench.put(name, body=f'{{"args":["{name}"]}}'.encode())
    for _ in range(3):
        bench.events.clear()
        bench.broker.drop_connections()
        await bench.until(lambda: len(bench.heard(events.DeliveryAdopted)) == 2)
    assert bench.consumer.busy == 2
    for gate in gates.values():
        gate.set()
    await bench.settled()
    assert sorted(ran) == ["a", "b", "c", "d"]


async def test_a_job_that_cancels_its_task_after_its_end_costs_no_slot(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its ending is cut off, so the message comes again, and then it ends."""
    monkeypatch.setattr(module, "FAULT_PAUSE_SECONDS", 0.01)
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    record, runs = bench.memory.record, []

    async def slow(one: Record) -> bool:
        await asyncio.sleep(0.05)
        return await record(one)

    async def job() -> None:
        runs.append(1)
        task = asyncio.current_task()
        if len(runs) == 1 and task is not None:
            asyncio.get_running_loop().call_later(0.02, task.cancel)

    monkeypatch.setattr(bench.memory, "record", slow)
    bench.register(job)
    bench.put("i")
    await bench.consumer.start()
    await bench.settled()
    assert len(runs) == 2
    assert bench.consumer.busy == 0


async def test_a_job_that_cancels_its_task_again_and_again_costs_no_slot(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the pause after the fault, which ends there, and while the attempt is given up."""
    monkeypatch.setattr(module, "FAULT_PAUSE_SECONDS", 3600.0)
    loop, record = asyncio.get_running_loop(), bench.memory.record
    tasks: list[asyncio.Task[Any]] = []

    def cancel_soon() -> None:
        loop.call_soon(tasks[-1].cancel)

    async def cut_off(one: Record) -> bool:
        if len(tasks) < 5:
            cancel_soon()
            await asyncio.Event().wait()
        return await record(one)

    async def job() -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)

    loop.set_exception_handler(lambda _loop, _context: cancel_soon())
    monkeypatch.setattr(bench.memory, "record", cut_off)
    bench.register(job)
    bench.put("i")
    await bench.consumer.start()
    await bench.settled()
    assert len(tasks) == 5
    assert bench.consumer.busy == 0


async def test_draining_finishes_what_runs_and_hands_back_the_rest(bench: Bench) -> None:
    """Nothing is lost, nothing runs twice."""
    gate, started = threading.Event(), threading.Semaphore(0)

    def job() -> None:
        started.release()
        gate.wait(60)

    bench.register(job)
    bench.put(*"abcdef")
    await bench.consumer.start()
    await bench.until(lambda: bench.consumer.busy == 2)
    draining = asyncio.create_task(bench.drain())
    await asyncio.sleep(0.05)
    assert not draining.done()
    gate.set()
    drained = await draining
    assert (drained.finished, drained.abandoned) == (2, 0)
    assert bench.broker.depth("shop.q.q") == (4, 0)
    assert len(bench.memory.records) == 2
    assert bench.consumer.state == "stopped"


async def test_a_prefetch_beyond_the_slots_is_held_and_handed_back(bench: Bench) -> None:
    """More messages than slots are here, no more jobs than slots run."""
    gate = threading.Event()
    running: list[int] = []
    counts: list[int] = []

    def job() -> None:
        running.append(1)
        counts.append(len(running))
        gate.wait(60)
        running.pop()

    bench.register(job)
    bench.put(*"abcdef")
    bench.consumer = bench.new_consumer(prefetch=5)
    await bench.consumer.start()
    await bench.until(lambda: bench.broker.depth("shop.q.q") == (1, 5))
    await bench.until(lambda: len(running) == 2)
    draining = asyncio.create_task(bench.drain())
    await bench.until(lambda: len(bench.heard(events.JobHandedBack)) == 3)
    gate.set()
    assert await draining == Drained(2, 3, 0)
    assert bench.broker.depth("shop.q.q") == (4, 0)
    assert max(counts) == 2


async def test_what_waits_for_a_slot_is_not_started_once_the_connection_is_gone(
    bench: Bench,
) -> None:
    """The broker gives it to others: it would run here and there."""
    gate = threading.Event()
    ran: list[int] = []

    def job() -> None:
        ran.append(1)
        gate.wait(60)

    bench.register(job)
    bench.put(*"abcdef")
    bench.consumer = bench.new_consumer(prefetch=5)
    await bench.consumer.start()
    await bench.until(lambda: len(ran) == 2 and bench.broker.depth("shop.q.q") == (1, 5))
    bench.broker.stop()
    await bench.until(lambda: bench.consumer.state == "waiting")
    gate.set()
    await bench.until(lambda: bench.consumer.busy == 0)
    assert (len(ran), len(bench.memory.records)) == (2, 2)
    bench.broker.start()
    await bench.settled()
    assert (len(ran), len(bench.memory.records)) == (6, 6)


async def test_what_waits_for_a_slot_goes_back_when_its_consumer_leaves_in_order(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its channel stays open until each of its messages is settled: it would be held for good."""
    gate = asyncio.Event()
    bench.register(gate.wait)
    bench.put(*"abc")
    bench.consumer = bench.new_consumer(prefetch=5)
    taken: list[Handed] = []
    take = bench.consumer._take

    def note(one: Handed) -> None:
        taken.append(one)
        take(one)

    monkeypatch.setattr(bench.consumer._attachment, "_take", note)
    await bench.consumer.start()
    await bench.until(lambda: bench.consumer._waiting)
    subscription = bench.consumer._attachment._subscription
    assert subscription is not None
    wire = subscription._link.wire
    assert wire is not None
    # As when messages come between the look at an idle queue and the answer to its cancel.
    again = bench.session.portal.submit(subscription._subscribe_again(wire))
    await asyncio.wrap_future(again)
    assert len(subscription._leaving) == 1
    bench.put("d")
    await bench.until(lambda: taken[-1].epoch > taken[0].epoch)
    gate.set()
    await bench.settled()
    assert {job_id for job_id, _ in bench.memory.records} == set("abcd")


async def test_a_second_signal_abandons_what_runs(bench: Bench) -> None:
    """It is not acked, and comes again."""
    started = asyncio.Event()

    async def job() -> None:
        started.set()
        await asyncio.sleep(3600)

    bench.register(job)
    bench.put("i")
    await bench.consumer.start()
    await started.wait()
    hurry = asyncio.Event()
    draining = asyncio.create_task(bench.consumer.drain(3600, hurry))
    await asyncio.sleep(0.01)
    hurry.set()
    assert await draining == Drained(0, 0, 1)
    assert bench.memory.records == {}
    assert bench.broker.depth("shop.q.q") == (1, 0)


async def test_a_consumer_that_never_connected_drains_at_once(bench: Bench) -> None:
    """There is nothing to lose."""
    assert await bench.drain() == Drained(0, 0, 0)


async def test_a_consumer_that_is_stopped_before_it_has_begun_takes_nothing(bench: Bench) -> None:
    """Its queue's messages would go round and round between it and the broker."""
    gate = threading.Event()
    bench.session.portal.post(gate.wait, 60)  # the I/O thread has something else to do
    bench.put("i")
    await bench.consumer.start()
    draining = asyncio.create_task(bench.drain())
    await asyncio.sleep(0.01)
    gate.set()
    assert await draining == Drained(0, 0, 0)
    assert bench.consumer.state == "stopped"
    await bench.until(lambda: bench.session.consuming.wire)
    assert bench.broker.depth("shop.q.q") == (1, 0)
    assert bench.heard(events.JobHandedBack) == []


async def test_a_deleted_queue_is_unhealthy_until_it_is_there_again(bench: Bench) -> None:
    """It is never recreated by a worker."""
    bench.register(lambda: 1)
    await bench.consumer.start()
    await bench.until(lambda: bench.consumer.state == "consuming")
    bench.broker.delete_queue("shop.q.q")
    await bench.until(lambda: bench.consumer.state == "failed")
    assert "shop.q.q" not in bench.broker.queues
    declare_plan(bench.broker, compile_plan(SPEC, from_version(bench.broker.version)))
    await bench.until(lambda: bench.consumer.state == "consuming")
