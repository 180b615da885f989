"""A worker that stops says of every job that it held, by its id, what became of it."""

from __future__ import annotations

import json
import signal
from contextlib import closing
from typing import Any

import pika

from rabbitjobs.backend.protocol import Status
from tests.broker import test_core_stopping
from tests.broker.crew import Crew, Worker, until
from tests.broker.test_core_outages import cut

SHOP, TOPOLOGY = test_core_stopping.SHOP, test_core_stopping.TOPOLOGY
HANDED_BACK = "job handed back to its queue, it had not started"


def lines(worker: Worker) -> list[dict[str, Any]]:
    """The log, line by line."""
    return [json.loads(line) for line in worker.log.splitlines() if line.startswith("{")]


def told(worker: Worker, text: str) -> set[str]:
    """The ids of the jobs of which the log says this."""
    return {line["job_id"] for line in lines(worker) if line["event"] == text}


def test_each_that_never_started_is_handed_back_by_name(shop: Crew) -> None:
    """Two run, two more were delivered while those run, two were never delivered.

    The worker is paused and its connection cut, so that a stranger takes the two that run; the
    worker's next connection is given the next two, for which it has no slot.
    """
    hold = shop.app.remote("hold", queue="work")
    worker = shop.consume("work")
    worker.says("healthy: consuming")
    run = {hold.send(number).id for number in range(2)}
    until(lambda: len(shop.lines()) == 2, why=lambda: worker.log)
    worker.signal(signal.SIGSTOP)
    until(lambda: cut(shop))
    until(lambda: shop.ready("q.work") == 2)
    with closing(pika.BlockingConnection(pika.URLParameters(shop.url))) as stranger:
        channel = stranger.channel()
        channel.basic_qos(prefetch_count=2)
        taken: list[Any] = []
        channel.basic_consume("shop.q.work", lambda *delivery: taken.append(delivery))
        until(lambda: stranger.process_data_events(0.02) or len(taken) == 2)  # type: ignore[func-returns-value]
        worker.signal(signal.SIGCONT)
        waiting = [hold.send(number).id for number in range(2, 6)]
        worker.says("healthy: consuming", times=2)
        until(lambda: shop.ready("q.work") == 2, why=lambda: worker.log)
        watching = shop.start("events", "--json")
        watching.says("watching")
        worker.signal(signal.SIGTERM)
        worker.says(HANDED_BACK, times=2)
        (shop.folder / "go").touch()
        assert worker.ends() == 0, worker.log
        stranger.process_data_events(0)
    assert told(worker, HANDED_BACK) == set(waiting[:2])
    assert told(worker, "job succeeded") == run
    (end,) = [line for line in lines(worker) if line["event"] == "worker stopped"]
    assert (end["finished"], end["handed_back"], end["abandoned"]) == (2, 2, 0)
    watching.says("JobHandedBack", times=2)
    seen = [line for line in lines(watching) if line["event"] == "JobHandedBack"]
    assert {line["job_id"] for line in seen} == set(waiting[:2])
    watching.says("WorkerStopped")
    shop.consume("work")
    shop.until_status(Status.SUCCEEDED, *run, *waiting)
    assert sorted(shop.lines()) == [str(number) for number in range(6)]
    until(lambda: shop.total("q.work") == 0)
