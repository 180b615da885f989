"""Stopping a worker: what runs is finished, what never started goes back, nothing is lost."""

from __future__ import annotations

import signal
from contextlib import closing

import pika
import pytest

from rabbitjobs.backend.protocol import Status
from rabbitjobs.topology.explain import explain
from tests.broker.crew import Crew, until

SHOP = """
import os, time
from pathlib import Path
from rabbitjobs import RabbitJobs

app = RabbitJobs()


@app.job("hold", queue="work")
def hold(number: int) -> int:
    with open("done", "a") as done:
        print(number, file=done)
    while not Path("go").exists():
        time.sleep(0.01)
    return number


@app.job("die", queue="crash")
def die() -> None:
    with open("died", "a") as died:
        print(os.getpid(), file=died)
    os.kill(os.getpid(), 9)
"""
TOPOLOGY = """
version: 1
namespace: shop
queues:
  work: {concurrency: 2}
  crash: {concurrency: 1, delivery_limit: 2}
"""


def test_sigterm_finishes_what_runs_and_leaves_the_rest(shop: Crew) -> None:
    """Exit 0; the log says what became of each."""
    hold = shop.app.remote("hold", queue="work")
    worker = shop.consume("work")
    worker.says("healthy: consuming")
    ids = [hold.send(number).id for number in range(6)]
    until(lambda: len(shop.lines()) == 2, why=lambda: worker.log)
    worker.signal(signal.SIGTERM)
    worker.says("worker stopping")
    assert worker.process.poll() is None
    (shop.folder / "go").touch()
    assert worker.ends() == 0, worker.log
    assert "worker stopped" in worker.log
    assert '"finished": 2' in worker.log
    assert '"abandoned": 0' in worker.log
    assert shop.total("q.work") == 4
    assert sorted(shop.status(job_id).value for job_id in ids).count("succeeded") == 2
    shop.consume("work")
    shop.until_status(Status.SUCCEEDED, *ids)
    assert sorted(shop.lines()) == [str(number) for number in range(6)]


def test_a_second_sigterm_is_sharp(shop: Crew) -> None:
    """What runs is abandoned: it was not acked, so it is delivered again."""
    hold = shop.app.remote("hold", queue="work")
    worker = shop.consume("work")
    worker.says("healthy: consuming")
    job_id = hold.send(1).id
    until(lambda: len(shop.lines()) == 1, why=lambda: worker.log)
    worker.signal(signal.SIGTERM)
    worker.says("worker stopping")
    worker.signal(signal.SIGTERM)
    assert worker.ends() == 0, worker.log
    assert '"abandoned": 1' in worker.log
    assert shop.total("q.work") == 1
    (shop.folder / "go").touch()
    shop.consume("work")
    shop.until_status(Status.SUCCEEDED, job_id)
    assert shop.lines() == ["1", "1"]


def stop_in_the_middle(shop: Crew) -> None:
    """Run a job that does not end, and stop its worker, which waits for a moment only."""
    worker = shop.consume("work", "--grace", "0.2")
    worker.says("healthy: consuming")
    shop.app.remote("hold", queue="work").send(1)
    until(lambda: len(shop.lines()) == 1, why=lambda: worker.log)
    worker.signal(signal.SIGTERM)
    assert worker.ends() == 0, worker.log


def test_the_grace_ends_by_itself(shop: Crew) -> None:
    """A job that does not end in time is abandoned."""
    stop_in_the_middle(shop)
    assert shop.total("q.work") == 1


def test_a_job_that_outlasts_the_grace_counts_as_a_delivery(shop: Crew) -> None:
    """On every version: to the broker it looks like a crash, and `explain` says so."""
    stop_in_the_middle(shop)
    until(lambda: shop.ready("q.work") == 1)  # the broker has noticed that its holder is gone
    with closing(pika.BlockingConnection(pika.URLParameters(shop.app.url))) as connection:
        _, properties, _ = connection.channel().basic_get("shop.q.work")
    assert properties is not None and properties.headers is not None
    assert properties.headers["x-delivery-count"] == 1
    told = {case.name: case.text for case in explain(shop.app.parts.plan(), "work")}
    assert "that outlast the grace of a stopping worker" in told["its worker dies"]


@pytest.mark.timeout(180)
def test_a_job_that_kills_its_worker_again_and_again_is_put_on_a_desk(shop: Crew) -> None:
    """At the delivery limit the broker itself moves it to review; it neither loops nor vanishes."""
    shop.app.remote("die", queue="crash").send()
    for death in range(1, 4):
        worker = shop.consume("crash")
        assert worker.ends() == -signal.SIGKILL, worker.log
        assert len(shop.lines("died")) == death
    until(lambda: shop.total("review") == 1)
    # It leaves the one queue when the other has confirmed it: for a moment it is in both.
    until(lambda: shop.total("q.crash") == 0)
    after = shop.consume("crash")
    after.says("healthy: consuming")
    assert len(shop.lines("died")) == 3
