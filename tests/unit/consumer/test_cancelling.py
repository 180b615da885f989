"""A cancelled job: dropped before it starts, or ended while it runs, with an ending like others."""

from __future__ import annotations

import asyncio

import pytest

from rabbitjobs import Context, Status, events
from rabbitjobs.consumer.failure import plain_failure
from rabbitjobs.consumer.pools.protocol import Ended
from rabbitjobs.job.definition import Definition
from rabbitjobs.message.envelope import Envelope
from tests.unit.consumer.bench import Bench
from tests.unit.consumer.orders import Orders, order


@pytest.fixture
def orders(bench: Bench) -> Orders:
    """Nothing is cancelled yet."""
    return Orders(bench)


def record(bench: Bench, job_id: str, attempt: int = 1) -> tuple[str, str | None]:
    """What was recorded of a job."""
    found = bench.memory.records[(job_id, attempt)]
    return found.status.value, found.error


async def test_a_job_that_was_cancelled_does_not_start(bench: Bench, orders: Orders) -> None:
    """Recorded with who and why, its unique key freed by that; a copy lies among the ignored."""
    ran: list[str] = []
    bench.register(lambda: ran.append("ran"))
    orders.rows.append(order("i"))
    bench.put("i", unique="job:k", on_done="https://x.example/done")
    bench.put("j")
    await bench.consumer.start()
    await bench.settled()
    assert ran == ["ran"]
    assert record(bench, "i") == ("cancelled", "cancelled by ann: no")
    assert bench.memory.records[("i", 1)].unique == "job:k"
    assert len(bench.failed("ignored")) == 1
    assert len(bench.failed("notify")) == 1  # the note that its caller asked for
    (ended,) = bench.heard(events.JobEnded)
    assert (ended.status, ended.rule) == ("cancelled", "cancelled by ann: no")


async def test_a_later_attempt_is_dropped_too(bench: Bench, orders: Orders) -> None:
    """Whatever delay it comes off."""
    bench.register(lambda: 1)
    orders.rows.append(order("i"))
    bench.put("i", attempt=4)
    await bench.consumer.start()
    await bench.settled()
    assert record(bench, "i", 4)[0] == "cancelled"


async def test_a_coroutine_is_cancelled_at_once_and_cleans_up(bench: Bench, orders: Orders) -> None:
    """Its next neighbour runs in the same slot as ever."""
    begun, cleaned = asyncio.Event(), asyncio.Event()

    async def job() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    bench.register(job)
    bench.put("i")
    await bench.consumer.start()
    await begun.wait()
    await orders.add(order("i"))
    await bench.settled()
    assert cleaned.is_set()
    assert record(bench, "i") == ("cancelled", "cancelled by ann: no")
    assert bench.consumer.busy == 0


async def test_a_coroutine_that_goes_on_is_cancelled_once_more_after_the_grace(
    bench: Bench, orders: Orders
) -> None:
    """And what it returns is put aside: it was told."""
    begun = asyncio.Event()
    cancels: list[int] = []

    async def job() -> int:
        begun.set()
        for _ in range(2):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancels.append(1)
        return 5

    bench.register(job)
    bench.put("i")
    await bench.consumer.start()
    await begun.wait()
    await orders.add(order("i", grace=0.02))
    await bench.settled()
    assert len(cancels) == 2
    assert record(bench, "i")[0] == "cancelled"
    assert bench.memory.records[("i", 1)].result is None


async def test_the_ending_of_a_cancelled_job_is_not_torn_by_the_grace(
    bench: Bench, orders: Orders
) -> None:
    """The store is slow: the grace is over while the ending waits for it."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def job() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    bench.register(job)
    bench.put("i")
    await bench.consumer.start()
    await begun.wait()
    bench.memory.down = True
    await orders.add(order("i", grace=0.02))
    await ended.wait()
    await bench.until(lambda: bench.heard(events.EndingDelayed))
    await asyncio.sleep(0.05)
    bench.memory.down = False
    await bench.settled()
    assert record(bench, "i")[0] == "cancelled"
    assert bench.consumer.counts == (1, 0)


@pytest.mark.parametrize("looks", [True, False])
async def test_a_thread_sees_it_and_is_never_ended_by_force(
    bench: Bench, orders: Orders, looks: bool
) -> None:
    """One that takes no notice and succeeds has succeeded: what it did is done."""
    begun = asyncio.Event()
    go: list[int] = []

    def job(ctx: Context) -> int:
        bench.consumer._loop.call_soon_threadsafe(begun.set)
        while not (ctx.cancelled if looks else go):
            pass
        return 5

    bench.register(job)
    bench.put("i")
    await bench.consumer.start()
    await begun.wait()
    await orders.add(order("i", grace=0.0))
    go.append(1)
    await bench.settled()
    assert record(bench, "i")[0] == ("cancelled" if looks else "succeeded")


async def test_a_job_that_fails_after_it_was_cancelled_is_not_tried_again(
    bench: Bench, orders: Orders
) -> None:
    """Its own traceback is kept."""
    begun = asyncio.Event()

    def job(ctx: Context) -> int:
        bench.consumer._loop.call_soon_threadsafe(begun.set)
        while not ctx.cancelled:
            pass
        raise ValueError("half done")

    bench.register(job)
    bench.put("i")
    await bench.consumer.start()
    await begun.wait()
    await orders.add(order("i"))
    await bench.settled()
    assert record(bench, "i")[0] == "cancelled"
    assert "half done" in str(bench.memory.records[("i", 1)].traceback)


async def test_a_job_waits_for_the_store_that_says_whether_it_was_cancelled(
    bench: Bench, orders: Orders
) -> None:
    """It could not end without it either; one that keeps nothing does not wait for it."""
    ran: list[int] = []
    bench.register(lambda: ran.append(1))
    orders.down = bench.memory.down = True
    bench.put("i")
    await bench.consumer.start()
    await bench.until(lambda: bench.heard(events.EndingDelayed))
    assert ran == []
    orders.rows.append(order("i"))
    orders.down = bench.memory.down = False
    await bench.settled()
    assert ran == []
    assert record(bench, "i")[0] == Status.CANCELLED.value


async def test_a_job_that_keeps_nothing_starts_without_the_store(
    bench: Bench, orders: Orders
) -> None:
    """On what is known."""
    ran: list[int] = []
    bench.register(lambda: ran.append(1), ignore_result=True)
    orders.down = True
    bench.put("i")
    await bench.consumer.start()
    await bench.settled()
    assert ran == [1]


class Elsewhere:
    """A pool whose jobs run in another process: they end only when the call is cancelled."""

    def __init__(self) -> None:
        self.told = 0
        self.begun = asyncio.Event()

    def start(self) -> None:
        """See ``Pool``."""

    def _tell(self) -> None:
        self.told += 1

    async def run(self, _definition: Definition, _envelope: Envelope, context: Context) -> Ended:
        """See ``Pool``."""
        context.elsewhere(self._tell)
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return None, plain_failure("error", "killed")
        raise AssertionError

    def stop(self) -> None:
        """See ``Pool``."""

    async def ended(self) -> None:
        """See ``Pool``."""


async def test_what_runs_elsewhere_is_told_and_killed_after_the_grace(
    bench: Bench, orders: Orders
) -> None:
    """Told first, so that it can clean up; the ending that follows is not torn."""
    pool = Elsewhere()
    bench.register(lambda: 1, pool="elsewhere")
    bench.handler._executor._pools._pools["elsewhere"] = pool
    bench.put("i")
    await bench.consumer.start()
    await pool.begun.wait()
    await orders.add(order("i", grace=0.05))
    assert pool.told == 1
    assert not bench.memory.records
    await bench.settled()
    assert record(bench, "i")[0] == "cancelled"
    assert bench.heard(events.JobEnded)


async def test_slots_are_set_while_it_consumes(bench: Bench) -> None:
    """More run at a time, though the broker was asked for fewer; then one."""
    running, most, gate = 0, 0, asyncio.Event()

    async def job() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await gate.wait()
        running -= 1

    bench.register(job)
    bench.put(*(f"i{number}" for number in range(12)))
    await bench.consumer.start()
    await bench.until(lambda: running == 2)
    bench.consumer.set_slots(6)
    await bench.until(lambda: running == 6)
    bench.consumer.set_slots(1)
    gate.set()
    await bench.settled()
    assert most == 6
    assert len(bench.memory.records) == 12
    assert not bench.heard(events.DuplicateDropped)


async def test_a_paused_queue_keeps_its_messages_until_it_is_resumed(bench: Bench) -> None:
    """What runs is finished and acked; nothing else begins."""
    gate, begun = asyncio.Event(), asyncio.Event()
    ran: list[int] = []

    async def job() -> None:
        ran.append(1)
        begun.set()
        await gate.wait()

    bench.register(job)
    bench.put("i")
    await bench.consumer.start()
    await begun.wait()
    bench.consumer.pause()
    await bench.until(lambda: bench.consumer.state == "paused")
    bench.put("j", "k")
    gate.set()
    await bench.until(lambda: ("i", 1) in bench.memory.records)
    await bench.until(lambda: bench.broker.depth("shop.q.q") == (2, 0))
    assert len(ran) == 1
    bench.consumer.resume()
    await bench.settled()
    assert len(ran) == 3


async def test_what_is_held_when_a_queue_is_paused_goes_back_once(bench: Bench) -> None:
    """After the consumer was cancelled: it does not come straight back, to be counted as failed."""
    gate, begun = asyncio.Event(), asyncio.Event()

    async def job() -> None:
        begun.set()
        await gate.wait()

    bench.register(job)
    consumer = bench.consumer = bench.new_consumer(prefetch=5)
    bench.put(*(f"i{number}" for number in range(6)))
    await consumer.start()
    await bench.until(lambda: len(consumer.reserved()) == 3)
    consumer.pause()
    await bench.until(lambda: consumer.state == "paused")
    assert consumer.reserved() == ()
    assert len(bench.heard(events.JobHandedBack)) == 3
    assert consumer.counts == (0, 3)
    await bench.until(lambda: bench.broker.depth("shop.q.q") == (4, 2))
    gate.set()
    await bench.until(lambda: bench.broker.depth("shop.q.q") == (4, 0))
    consumer.resume()
    await bench.settled()
    assert len(bench.memory.records) == 6
    assert consumer.counts == (6, 3)


async def test_resumed_at_once_it_runs_what_it_holds(bench: Bench) -> None:
    """Nothing is stuck between the two."""
    bench.register(lambda: 1)
    bench.put(*(f"i{number}" for number in range(20)))
    await bench.consumer.start()
    for _ in range(5):
        bench.consumer.pause()
        await asyncio.sleep(0)
        bench.consumer.resume()
        await asyncio.sleep(0.002)
    await bench.settled()
    assert len(bench.memory.records) == 20


async def test_fewer_slots_than_messages_at_hand_lose_none(bench: Bench) -> None:
    """Those that the first subscription handed over, and those that the next one does."""
    most = running = 0

    async def job() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1

    bench.register(job)
    consumer = bench.consumer = bench.new_consumer(prefetch=5)
    bench.put(*(f"i{number}" for number in range(40)))
    await consumer.start()
    for slots in (1, 4, 2, 1):
        consumer.set_slots(slots)
        await asyncio.sleep(0.01)
    await bench.settled()
    assert len(bench.memory.records) == 40
    assert not bench.heard(events.DuplicateDropped)
    assert most <= 4
