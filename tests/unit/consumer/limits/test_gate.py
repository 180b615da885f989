"""Jobs that wait for a rate or a key, on a broker in memory: none is lost, none holds a slot."""

from __future__ import annotations

import asyncio
import time

import pytest

from rabbitjobs import events
from rabbitjobs.consumer.context import Context
from rabbitjobs.consumer.limits import gate as module
from rabbitjobs.policy.rate import rate
from tests.unit.consumer.limits.gated import Gated


async def quick() -> None:
    """A job."""


async def test_a_queue_keeps_its_rate_and_ends_every_job(gated: Gated) -> None:
    """Two processes share it."""
    moments: list[float] = []

    async def job() -> None:
        moments.append(time.monotonic())

    gated.job("job", job)
    gated.put("job", *(f"j{n}" for n in range(30)))
    for _ in range(2):
        await gated.start(queue_rate=rate("20/s"))
    await gated.succeeded(30)
    assert len(gated.bench.memory.records) == 30
    # From the line's begin, not from the first job's: that may be late, and those after it are not.
    assert 29 / (moments[-1] - gated.shared.asked_at[0]) <= 22


async def test_jobs_over_their_rate_make_way_for_others(gated: Gated) -> None:
    """Those that have no room are put off at once, and come back."""
    gated.job("slow", quick, rate="5/s")
    gated.job("quick", quick)
    gated.put("slow", *(f"s{n}" for n in range(12)))
    gated.put("quick", *(f"q{n}" for n in range(20)))
    await gated.start(room=3)
    await gated.bench.until(
        lambda: sum(e.job == "quick" for e in gated.bench.heard(events.JobSucceeded)) == 20
    )
    slow = sum(e.job == "slow" for e in gated.bench.heard(events.JobSucceeded))
    assert slow < 12
    assert {one.limit for one in gated.put_off} == {"rate of job slow: 5/s"}
    assert all(one.waits == 1 and one.attempt == 1 for one in gated.put_off)
    await gated.succeeded(32)
    assert len(gated.bench.memory.records) == 32


async def test_without_the_store_nothing_starts_and_nothing_stays_unacked(
    gated: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything goes to the ladder, and runs when the store is back."""
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.05)
    gated.shared.down = True
    gated.job("job", quick)
    gated.put("job", *(f"j{n}" for n in range(8)))
    await gated.start(queue_rate=rate("100/s"))
    await gated.bench.until(lambda: len(gated.put_off) >= 8)
    await gated.bench.until(lambda: gated.bench.broker.depth("shop.q.q")[1] == 0)
    assert not gated.bench.heard(events.JobStarted)
    gated.shared.down = False
    await gated.succeeded(8)
    assert {one.job_id for one in gated.bench.heard(events.JobSucceeded)} == {
        f"j{n}" for n in range(8)
    }


async def test_jobs_of_one_key_run_one_after_the_other(gated: Gated) -> None:
    """In two processes; those of different keys run beside each other."""
    running: list[str] = []
    together = 0

    async def job(customer: str) -> None:
        nonlocal together
        assert customer not in running
        running.append(customer)
        together = max(together, len(running))
        await asyncio.sleep(0.01)
        running.remove(customer)

    gated.job("job", job, concurrency_key="{customer}")
    for n in range(12):
        gated.put("job", f"j{n}", body=b'{"args": ["%d"]}' % (n % 3))
    for _ in range(2):
        await gated.start()
    await gated.succeeded(12)
    assert together >= 2
    assert gated.bench.memory.records[("j0", 1)].lease
    assert not gated.bench.failed("review")


async def test_a_key_that_cannot_be_made_fails_the_job_and_nothing_else(gated: Gated) -> None:
    """Before any of its code runs."""
    ran: list[str] = []

    def bad(customer: str) -> str:
        raise LookupError(customer)

    async def job(customer: str) -> None:
        ran.append(customer)

    gated.job("bad", job, concurrency_key=bad)
    gated.job("good", job, concurrency_key="{customer}")
    gated.put("bad", "b", body=b'{"args": ["ada"]}')
    gated.put("good", "g", body=b'{"args": ["bob"]}')
    gated.put("good", "n", body=b'{"args": [7]}')
    await gated.start()
    await gated.bench.settled()
    assert ran == ["bob"]
    assert sorted(one.properties.headers["x-rj-id"] for one in gated.bench.failed("review")) == [
        "b",
        "n",
    ]


async def test_a_job_hears_that_its_lease_is_lost(gated: Gated) -> None:
    """And its outcome is recorded all the same."""
    seen: list[bool] = []
    begun, go = asyncio.Event(), asyncio.Event()

    async def job(context: Context, customer: str) -> None:
        seen.append(bool(context.lease_lost))
        begun.set()
        await go.wait()
        seen.append(bool(context.lease_lost))

    gated.job("job", job, concurrency_key="{customer}")
    gated.put("job", "j", body=b'{"args": ["ada"]}')
    await gated.start()
    await begun.wait()
    key = next(iter(gated.shared.leases))
    gated.shared.leases[key] = {"j": (1, "somebody else's")}
    leases = gated.gates[0].leases
    assert leases is not None
    await leases.renew()
    go.set()
    await gated.succeeded(1)
    assert seen == [False, True]
    assert [one.job_id for one in gated.bench.heard(events.LeaseLost)] == ["j"]


async def test_what_waits_is_handed_back_when_the_consumer_stops(gated: Gated) -> None:
    """Nothing is acked that has not ended."""
    gated.job("job", quick)
    gated.put("job", *(f"j{n}" for n in range(6)))
    await gated.start(queue_rate=rate("1/h"))
    await gated.bench.until(lambda: len(gated.gates[0]) == 5)
    await gated.bench.until(lambda: gated.consumers[0].counts == (1, 0))
    drained = await gated.consumers.pop().drain(1.0, asyncio.Event())
    assert (drained.finished, drained.handed_back, drained.abandoned) == (0, 5, 0)
    await gated.bench.until(lambda: gated.bench.broker.depth("shop.q.q") == (5, 0))


async def test_what_waits_when_the_connection_breaks_runs_once(gated: Gated) -> None:
    """It is delivered anew; the first delivery is forgotten."""
    ran: list[str] = []

    async def job(name: str) -> None:
        ran.append(name)

    gated.job("job", job)
    for n in range(6):
        gated.put("job", f"j{n}", body=b'{"args": ["%d"]}' % n)
    await gated.start(queue_rate=rate("10/s"))
    await gated.bench.until(lambda: ran)
    gated.bench.broker.drop_connections()
    await gated.succeeded(6)
    assert sorted(ran) == [str(n) for n in range(6)]


async def test_two_messages_of_one_attempt_run_once(gated: Gated) -> None:
    """The second comes back later, and finds the first one's record."""
    gated.job("job", quick)
    gated.put("job", "j", "j")
    await gated.start(queue_rate=rate("10/s"))
    await gated.bench.until(lambda: gated.bench.heard(events.DuplicateDropped))
    assert len(gated.bench.heard(events.JobSucceeded)) == 1


async def test_a_job_that_has_expired_does_not_wait_to_hear_so(gated: Gated) -> None:
    """Its rate is for those that run."""
    gated.job("job", quick)
    gated.bench.put("j", job="job", expires=1.0)
    gated.bench.put("k", job="job")
    await gated.start(queue_rate=rate("1/h"))
    await gated.bench.until(lambda: gated.bench.heard(events.JobEnded))
    assert [one.status for one in gated.bench.heard(events.JobEnded)] == ["expired"]


async def test_jobs_without_a_limit_never_see_the_gate(gated: Gated) -> None:
    """Beside those that have one."""
    gated.job("slow", quick, rate="1/h")
    gated.job("job", quick)
    gated.put("job", *(f"j{n}" for n in range(50)))
    await gated.start()
    await gated.succeeded(50)
    assert gated.shared.asks == []


async def test_those_who_wait_for_a_slot_and_those_behind_the_gate_take_turns(
    gated: Gated,
) -> None:
    """A hundred jobs without a limit do not keep out one that has its key."""
    ran: list[str] = []
    all_here = asyncio.Event()

    async def plain() -> None:
        ran.append("plain")
        await all_here.wait()
        await asyncio.sleep(0.002)

    async def keyed() -> None:
        ran.append("keyed")

    gated.job("plain", plain)
    gated.job("keyed", keyed, concurrency_key="all")
    gated.put("plain", *(f"p{n}" for n in range(100)))
    gated.put("keyed", "k1", "k2")
    await gated.start(room=200)
    await gated.bench.until(lambda: len(gated.gates[0]) == 2)
    all_here.set()
    await gated.succeeded(102)
    assert ran.index("keyed") < 60


async def test_a_key_is_never_shown(gated: Gated, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made of arguments; its digest tells two apart."""
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.05)

    async def job(customer: str) -> None:
        assert customer

    gated.job("job", job, concurrency_key="{customer}")
    gated.shared.down = True
    gated.put("job", "a", body=b'{"args": ["ada@shop.example"]}')
    gated.put("job", "b", body=b'{"args": ["bob@shop.example"]}')
    await gated.start()
    await gated.bench.until(lambda: len({one.job_id for one in gated.put_off}) == 2)
    first, second = {one.limit for one in gated.put_off}  # some may have come back, and gone again
    assert all(one.startswith("key #") and one.endswith(" of job job") for one in (first, second))
    assert "shop.example" not in repr(gated.bench.events)
    gated.shared.down = False


async def test_jobs_whose_keys_are_free_are_not_put_off(gated: Gated) -> None:
    """More than there is room for, but each may run: they wait for a slot only."""

    async def job(customer: str) -> None:
        assert customer

    gated.job("job", job, concurrency_key="{customer}")
    for n in range(40):
        gated.put("job", f"j{n}", body=b'{"args": ["%d"]}' % n)
    await gated.start(room=3)
    await gated.succeeded(40)
    assert gated.put_off == []
    assert gated.shared.holders == []
