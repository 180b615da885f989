"""Rates and concurrency keys, on a real broker, over real processes."""

from __future__ import annotations

import signal
import time
from itertools import pairwise

from rabbitjobs.backend.protocol import Status
from tests.broker.crew import Crew, until

SHOP = """
import asyncio, os, time
from rabbitjobs import RabbitJobs

app = RabbitJobs()


@app.job("tick", queue="work", ignore_result=True)
async def tick(number: int) -> None:
    with open("done", "a") as done:
        print(number, os.getpid(), time.time(), file=done)


@app.job("nap", queue="scaled", ignore_result=True)
async def nap(number: int) -> None:
    await asyncio.sleep(0.5)
    with open("done", "a") as done:
        print(number, file=done)


@app.job("slow", queue="mixed", ignore_result=True, rate="2/s")
async def slow(number: int) -> None:
    with open("done", "a") as done:
        print("slow", number, time.time(), file=done)


@app.job("quick", queue="mixed", ignore_result=True)
async def quick(number: int) -> None:
    with open("done", "a") as done:
        print("quick", number, time.time(), file=done)


@app.job("stay", queue="keys", concurrency_key="{customer}")
def stay(customer: str) -> None:
    with open("done", "a") as done:
        print("stay", os.getpid(), file=done)
    while not os.path.exists("go"):
        time.sleep(0.01)


@app.job("one", queue="keys", concurrency_key="{customer}")
def one(customer: str, number: int) -> None:
    begun = time.time()
    time.sleep(0.05)
    with open("done", "a") as done:
        print(customer, number, begun, time.time(), file=done)
"""
TOPOLOGY = """
version: 1
namespace: shop
queues:
  work: {concurrency: 10, rate: 50/s}
  mixed: {concurrency: 4}
  keys: {concurrency: 4}
  scaled: {concurrency: {min: 1, max: 4}}
"""


def test_a_fleet_keeps_a_queues_rate(shop: Crew) -> None:
    """Three processes together start 50 jobs a second, within a tenth; all get their share."""
    tick = shop.app.remote("tick", queue="work")
    workers = [shop.consume("work") for _ in range(3)]
    for worker in workers:
        worker.says("healthy: consuming")
    shop.app.send_many([tick.call(number) for number in range(600)])
    until(lambda: len(shop.lines()) >= 100, why=lambda: workers[0].log)
    time.sleep(6)
    lines = [line.split() for line in shop.lines()]
    moments = sorted(float(line[2]) for line in lines)[50:]
    rate = (len(moments) - 1) / (moments[-1] - moments[0])
    assert 45 <= rate <= 55, rate
    assert len({line[1] for line in lines}) == 3


def test_a_job_over_its_rate_makes_way_for_others(shop: Crew) -> None:
    """It holds no slot and is put off; both kinds run to the last, each once."""
    slow = shop.app.remote("slow", queue="mixed")
    quick = shop.app.remote("quick", queue="mixed")
    shop.app.send_many([slow.call(number) for number in range(24)])
    shop.app.send_many([quick.call(number) for number in range(50)])
    worker = shop.consume("mixed", "--log-level", "debug")
    until(lambda: sum("quick" in line for line in shop.lines()) == 50, why=lambda: worker.log)
    kinds = [line.split()[0] for line in shop.lines()]
    before = kinds[: len(kinds) - kinds[::-1].index("quick")]
    assert before.count("slow") < 20
    until(lambda: len(shop.lines()) == 74, why=lambda: worker.log)
    moments = sorted(float(line.split()[2]) for line in shop.lines() if "slow" in line)
    assert (len(moments) - 1) / (moments[-1] - moments[0]) <= 2.3
    assert len({line.split()[1] for line in shop.lines() if "slow" in line}) == 24
    assert "job put off" in worker.log


def test_jobs_of_one_key_never_run_beside_each_other(shop: Crew) -> None:
    """Two processes, three customers."""
    one = shop.app.remote("one", queue="keys")
    workers = [shop.consume("keys") for _ in range(2)]
    shop.app.send_many([one.call("abc"[number % 3], number) for number in range(45)])
    until(lambda: len(shop.lines()) == 45, why=lambda: workers[0].log)
    for customer in "abc":
        spans = sorted(
            (float(line.split()[2]), float(line.split()[3]))
            for line in shop.lines()
            if line.startswith(customer)
        )
        assert len(spans) == 15
        assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))


def test_a_worker_that_is_killed_while_it_puts_jobs_off_loses_none(shop: Crew) -> None:
    """Each is published and confirmed before it is acked; what was in between comes twice."""
    slow = shop.app.remote("slow", queue="mixed")
    shop.app.send_many([slow.call(number) for number in range(20)])
    for kill in range(3):
        worker = shop.consume("mixed", "--log-level", "debug")
        worker.says("job put off", 2 + kill)
        worker.signal(signal.SIGKILL)
        worker.ends()
    worker = shop.consume("mixed")

    def ran() -> set[str]:
        return {line.split()[1] for line in shop.lines() if "slow" in line}

    for many in (5, 10, 15, 20):  # each time they were put off, they were sent to the line's end
        until(lambda many=many: len(ran()) >= many, why=lambda: worker.log)  # type: ignore[misc]
    assert ran() == {str(number) for number in range(20)}


def test_a_job_whose_worker_was_killed_takes_its_own_lease_over(shop: Crew) -> None:
    """It need not wait for the half minute that the lease lasts."""
    stay = shop.app.remote("stay", queue="keys")
    first = shop.consume("keys")
    job_id = stay.send("ada").id
    until(lambda: len(shop.lines()) == 1, why=lambda: first.log)
    second = shop.consume("keys")
    second.says("healthy: consuming")
    begun = time.monotonic()
    first.signal(signal.SIGKILL)
    until(lambda: len(shop.lines()) == 2, why=lambda: second.log)
    assert time.monotonic() - begun < 20
    (shop.folder / "go").touch()
    shop.until_status(Status.SUCCEEDED, job_id)


def test_cancelled_jobs_give_their_key_back_and_need_none(shop: Crew) -> None:
    """One that runs, and one that waits for it or was put off: the third has the key at once."""
    stay = shop.app.remote("stay", queue="keys")
    worker = shop.consume("keys")
    first = stay.send("ada")
    until(lambda: len(shop.lines()) == 1, why=lambda: worker.log)
    second, third = stay.send("ada"), shop.app.remote("one", queue="keys").send("bob", 1)
    until(lambda: len(shop.lines()) == 2, why=lambda: worker.log)
    second.cancel("not needed")
    shop.until_status(Status.CANCELLED, second.id)
    assert shop.lines()[1].startswith("bob")
    fourth = stay.send("ada")
    first.cancel("nor this")
    (shop.folder / "go").touch()  # a thread cannot be ended
    shop.until_status(Status.SUCCEEDED, fourth.id)
    shop.until_status(Status.SUCCEEDED, third.id)
    assert sum(line.startswith("stay") for line in shop.lines()) == 2


def test_slots_follow_the_backlog(shop: Crew) -> None:
    """Up to the max, and down again when it is worked off; each job runs once."""
    nap = shop.app.remote("nap", queue="scaled")
    shop.app.send_many([nap.call(number) for number in range(32)])
    worker = shop.consume("scaled")
    worker.says('"slots": 4')
    until(lambda: len(shop.lines()) == 32, why=lambda: worker.log)
    worker.says('"slots": 1,')
    assert sorted(shop.lines()) == sorted(str(number) for number in range(32))
