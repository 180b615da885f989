"""One rate in one process, against a line that others use too."""

from __future__ import annotations

import asyncio

import pytest

from rabbitjobs.consumer.limits import limiter as module
from rabbitjobs.consumer.limits.limiter import AWAY_SECONDS, Limiter, own_line
from rabbitjobs.policy.rate import Rate, rate
from rabbitjobs.store.slices import Ask
from tests.unit.consumer.limits.sharing import Shared


class Process:
    """A limiter on a clock that the test moves."""

    def __init__(self, shared: Shared, wanted: Rate) -> None:
        self.shared = shared
        self.said: list[str] = []
        self.woken = asyncio.Event()
        self.limiter = Limiter(
            "queue q",
            wanted,
            shared.take,
            wake=self.woken.set,
            away=self.said.append,
            clock=lambda: shared.time,
        )

    async def ask(self, waiting: int, free: int = 10) -> None:
        """So many jobs wait."""
        self.woken.clear()
        self.limiter.want(waiting, free)
        if self.limiter._asking is not None:
            await asyncio.wait_for(self.woken.wait(), 5)

    def starts(self) -> int:
        """Start what may start now."""
        count = 0
        while self.limiter.ready():
            self.limiter.start()
            count += 1
        return count


async def test_a_saturated_fleet_keeps_the_rate_and_asks_seldom() -> None:
    """Four processes, each with forty jobs waiting, for thirty seconds of the test's clock."""
    shared = Shared()
    fleet = [Process(shared, rate("100/s")) for _ in range(4)]
    started = dict.fromkeys(range(4), 0)
    for _ in range(3000):
        for number, process in enumerate(fleet):
            started[number] += process.starts()
            await process.ask(40)
        shared.time += 0.01
    total = sum(started.values())
    assert 2700 <= total <= 3300
    assert min(started.values()) > total / 4 * 0.7
    assert len(shared.asks) < total / 10


async def test_processes_with_one_slot_waste_none_of_the_rate() -> None:
    """Thirty of them, a job each of 2.5 seconds, could start 12 a second: they start 10."""
    shared = Shared()
    fleet = [Process(shared, rate("10/s")) for _ in range(30)]
    until = [0.0] * 30
    started = 0
    for _ in range(1500):
        for number, process in enumerate(fleet):
            if until[number] > shared.time:
                continue
            if process.limiter.ready():
                process.limiter.start()
                started += 1
                until[number] = shared.time + 2.5
            else:
                await process.ask(20, free=1)
        shared.time += 0.02
    assert 270 <= started <= 330


async def test_little_work_costs_two_questions_a_second_and_no_more() -> None:
    """Fifty jobs a second under a rate of a thousand: starts are asked for in advance."""
    shared = Shared()
    process = Process(shared, rate("1000/s"))
    started = 0
    for _ in range(500):
        shared.time += 0.02
        await process.ask(1)
        await asyncio.sleep(0)
        started += 1 if process.limiter.ready() else 0
        if process.limiter.ready():
            process.limiter.start()
    assert started >= 480
    assert len(shared.asks) <= 60


async def test_without_the_store_nothing_starts_and_it_is_said_once() -> None:
    """Nor is it asked again and again."""
    shared = Shared()
    process = Process(shared, rate("10/s"))
    shared.down = True
    await process.ask(5)
    await process.ask(5)
    assert process.starts() == 0
    assert process.said == ["queue q: the store is down"]
    assert process.limiter.next_in() == pytest.approx(AWAY_SECONDS)
    shared.down = False
    shared.time += AWAY_SECONDS
    await process.ask(5)
    assert process.starts() == 1
    assert process.said == ["queue q: the store is down", ""]


async def test_a_store_that_is_silent_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while."""
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.01)
    shared = Shared()
    shared.silent = True
    process = Process(shared, rate("10/s"))
    await process.ask(5)
    assert process.said == ["queue q: no answer from the store"]


async def test_jobs_that_are_put_off_get_places_as_far_apart_as_the_rate() -> None:
    """Asked for together; none while the store is away."""
    shared = Shared()
    process = Process(shared, rate("2/s"))
    places = await asyncio.gather(*(process.limiter.place() for _ in range(4)))
    assert sorted(place or 0.0 for place in places) == pytest.approx([1.0, 1.5, 2.0, 2.5])
    shared.down = True
    assert await process.limiter.place() is None
    assert len(shared.asks) <= 2


async def test_a_rate_of_each_process_needs_no_store() -> None:
    """Its line is its own."""
    now = 100.0
    take = own_line(lambda: now)
    first = await take(Ask(key="q", spacing=0.1, want=3))
    second = await take(Ask(key="q", spacing=0.1, want=3))
    assert [first.starts_in, second.starts_in] == pytest.approx([0.0, 0.3])
