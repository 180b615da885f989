"""Jobs at the gate that are cancelled, and a gate whose queue is paused or gets another rate."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from rabbitjobs import events
from rabbitjobs.consumer.autoscale import Autoscale
from rabbitjobs.consumer.consumer import QueueConsumer
from rabbitjobs.control.book import Book
from rabbitjobs.policy.rate import rate
from rabbitjobs.store.cancellations import Cancellation
from tests.unit.consumer.bench import Bench
from tests.unit.consumer.limits.gated import Gated


class Orders:
    """The store's cancellations, and workers that read them."""

    def __init__(self, gated: Gated) -> None:
        self.rows: list[Cancellation] = []
        self._gated = gated
        self.book = Book(self._read)
        self.book.listen(self._tell)
        gated.bench.handler._book = self.book

    def _read(self, _number: int) -> Sequence[Cancellation]:
        return tuple(self.rows)

    def _tell(self, one: Cancellation) -> None:
        for consumer in self._gated.consumers:
            consumer.cancel(one)

    async def add(self, job_id: str) -> None:
        """Somebody cancels, and the worker hears of it."""
        order = Cancellation(
            number=1, kind="id", value=job_id, at=1e12, grace=30.0, who="ann", why="no"
        )
        self.rows.append(order)
        await self.book.renew()


def status(gated: Gated, job_id: str) -> str:
    """What was recorded of a job; "" if nothing."""
    found = gated.bench.memory.records.get((job_id, 1))
    return found.status.value if found is not None else ""


async def until_parked(gated: Gated, *ids: str) -> None:
    """Wait until these stand at the gate."""
    await gated.bench.until(lambda: {one.id for one in gated.gates[0].waiting()} >= set(ids))


async def test_a_cancelled_job_ends_without_its_key(gated: Gated) -> None:
    """It stands at the gate while another job has the key: it runs no code, so it needs none."""
    go = asyncio.Event()
    gated.job("job", go.wait, concurrency_key=lambda: "k")
    orders = Orders(gated)
    gated.put("job", "first")
    await gated.start()
    await gated.bench.until(lambda: gated.shared.holders == ["first"])
    gated.put("job", "second")
    await until_parked(gated, "second")
    await orders.add("second")
    await gated.bench.until(lambda: status(gated, "second"))
    assert status(gated, "second") == "cancelled"
    assert (gated.shared.holders, gated.put_off) == (["first"], [])
    go.set()
    await gated.succeeded(1)
    orders.book.stop()


async def test_a_running_job_that_is_cancelled_gives_its_key_back(gated: Gated) -> None:
    """The next one has it, without waiting for the end of a lease."""
    go = asyncio.Event()
    gated.job("job", go.wait, concurrency_key=lambda: "k")
    orders = Orders(gated)
    gated.put("job", "first")
    await gated.start()
    await gated.bench.until(lambda: gated.shared.holders == ["first"])
    gated.put("job", "second")
    await until_parked(gated, "second")
    await orders.add("first")
    await gated.bench.until(lambda: gated.shared.holders == ["second"])
    assert status(gated, "first") == "cancelled"
    assert gated.bench.memory.records[("first", 1)].lease
    go.set()
    await gated.succeeded(1)
    orders.book.stop()


async def test_a_job_that_was_put_off_and_cancelled_meanwhile_ends_as_cancelled(
    gated: Gated,
) -> None:
    """It comes back from the ladder, passes the gate, and takes no start from others."""
    ran: list[str] = []
    gated.job("job", lambda: ran.append("ran"), rate="1/h")
    orders = Orders(gated)
    gated.put("job", "a", "b", "c")
    await gated.start(room=1)
    await gated.bench.until(lambda: gated.put_off and ran)
    gone = gated.put_off[0].job_id
    await orders.add(gone)
    gated.put("job", gone)  # as the ladder brings it back
    await gated.bench.until(lambda: status(gated, gone))
    assert (status(gated, gone), ran) == ("cancelled", ["ran"])
    orders.book.stop()


async def test_paused_the_gate_is_emptied_and_nothing_passes(gated: Gated) -> None:
    """What waits there goes back to the queue once the consumer is cancelled; then it goes on."""
    ran: list[str] = []
    gated.job("job", lambda: ran.append("ran"), rate="1/h")
    gated.put("job", "a", "b", "c")
    await gated.start()
    await gated.bench.until(lambda: ran and len(gated.gates[0]) == 2)
    (consumer,) = gated.consumers
    consumer.pause()
    await gated.bench.until(lambda: consumer.state == "paused")
    await gated.bench.until(lambda: gated.bench.broker.depth("shop.q.q") == (2, 0))
    assert len(gated.gates[0]) == 0
    assert {one.job_id for one in gated.bench.heard(events.JobHandedBack)} <= {"a", "b", "c"}
    consumer.resume()
    await gated.bench.until(lambda: len(gated.gates[0]) == 2)
    assert ran == ["ran"]


async def test_a_gate_that_comes_later_is_passed_by_those_that_wait_already(
    gated: Gated,
) -> None:
    """Remote control sets a rate on a queue that had none."""
    go = asyncio.Event()
    gated.job("job", go.wait, rate="1/h")
    (consumer,) = await free(gated)
    gated.put("job", *(f"j{n}" for n in range(12)))
    await gated.bench.until(lambda: consumer.busy == 2 and consumer.waiting == 6)
    gate = gated.gate()
    consumer.limit(gate)
    assert (consumer.waiting, len(gate)) == (0, 6)
    assert len(consumer.reserved()) == 6
    go.set()
    await gated.succeeded(3)  # the two that ran, and one start
    await gated.bench.until(lambda: consumer.busy == 0)
    assert len(gated.bench.heard(events.JobSucceeded)) == 3


async def free(gated: Gated) -> list[QueueConsumer]:
    """A consumer without a gate, which holds eight messages."""
    consumer = gated.bench.new_consumer(prefetch=8)
    gated.consumers.append(consumer)
    await consumer.start()
    return gated.consumers


async def test_slots_that_are_set_by_hand_do_not_follow_the_backlog_any_more(
    bench: Bench,
) -> None:
    """The last word is that of the operator."""
    consumer = QueueConsumer(
        queue="q",
        namespace="shop",
        session=bench.session,
        handler=bench.handler,
        slots=2,
        bus=bench.bus,
        autoscale=(autoscale := Autoscale(2, 8, bus=bench.bus)),
    )
    await consumer.start()
    consumer.set_slots(5)
    await asyncio.sleep(0)
    assert consumer.slots == 5
    assert autoscale._task is not None and autoscale._task.cancelled()
    await consumer.drain(1.0, asyncio.Event())


async def test_a_new_rate_holds_for_what_stands_at_the_gate(gated: Gated) -> None:
    """Nothing is put in again."""
    gated.job("job", lambda: None)
    gated.put("job", *(f"j{n}" for n in range(4)))
    await gated.start(queue_rate=rate("1/h"))
    await gated.succeeded(1)
    (limiter,) = gated.gates[0]._limiters()
    limiter.change(rate("100/s"))
    await gated.succeeded(4)
