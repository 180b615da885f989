"""Slots that change while jobs run, on a broker in memory."""

from __future__ import annotations

import asyncio

import pytest

from rabbitjobs import events
from rabbitjobs.consumer import autoscale as module
from rabbitjobs.consumer.autoscale import Autoscale
from rabbitjobs.consumer.consumer import QueueConsumer
from tests.unit.consumer.bench import Bench


class Work:
    """Jobs that wait for a word, and how many of them run."""

    def __init__(self) -> None:
        self.running = 0
        self.ran = 0
        self.go = asyncio.Semaphore(0)

    async def job(self) -> None:
        """Run until told to end."""
        self.ran += 1
        self.running += 1
        await self.go.acquire()
        self.running -= 1

    def end(self, count: int) -> None:
        """Let so many end."""
        for _ in range(count):
            self.go.release()


async def test_slots_grow_and_shrink_and_no_job_runs_twice(bench: Bench) -> None:
    """What the old subscription was handed is acked by its own tags."""
    work = Work()
    bench.register(work.job)
    bench.put(*(f"j{n}" for n in range(20)))
    await bench.consumer.start()
    await bench.until(lambda: work.running == 2)
    bench.consumer.resize(5)
    await bench.until(lambda: work.running == 5)
    work.end(6)
    await bench.until(lambda: work.ran == 11 and work.running == 5)
    bench.consumer.resize(1)
    work.end(5)
    await bench.until(lambda: len(bench.heard(events.JobSucceeded)) == 11 and work.running == 1)
    await asyncio.sleep(0.01)
    assert work.running == 1
    work.end(9)
    await bench.settled()
    assert (work.ran, len(bench.memory.records)) == (20, 20)
    assert not bench.heard(events.DeliveryAdopted)
    assert not bench.heard(events.DuplicateDropped)


async def test_an_autoscaled_consumer_follows_its_backlog(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up with the backlog, down when it is gone; both are told."""
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.02)
    work = Work()
    autoscale = Autoscale(2, 8, bus=bench.bus)
    consumer = QueueConsumer(
        queue="q",
        namespace="shop",
        session=bench.session,
        handler=bench.handler,
        slots=2,
        bus=bench.bus,
        autoscale=autoscale,
    )
    bench.register(work.job)
    bench.put(*(f"j{n}" for n in range(40)))
    await consumer.start()
    await bench.until(lambda: work.running == 8)
    work.end(40)
    await bench.settled()
    await bench.until(lambda: consumer.slots == 2)
    await consumer.drain(1.0, asyncio.Event())
    told = bench.heard(events.SlotsChanged)
    assert [(one.before, one.slots) for one in told][:2] == [(2, 4), (4, 8)]
    assert told[-1].slots == 2
    assert len(bench.memory.records) == 40
