"""Nothing confirmed is lost: a thousand jobs, a killed worker, a restarted broker."""

from __future__ import annotations

import signal
import sqlite3
import threading
from contextlib import closing

import pytest

from rabbitjobs.clock import uuid7
from rabbitjobs.errors import SendError
from tests.broker.crew import PATIENCE, Crew, until

SHOP = """
import os
from rabbitjobs import RabbitJobs

app = RabbitJobs()
done = os.open("done", os.O_WRONLY | os.O_CREAT | os.O_APPEND)


@app.job("mark", queue="work")
def mark(number: int) -> int:
    os.write(done, f"{number}\\n".encode())
    return number
"""
TOPOLOGY = """
version: 1
namespace: shop
queues:
  work: {concurrency: 10, delivery_limit: 50}
"""


def recorded(shop: Crew) -> dict[str, list[tuple[int, str, bytes]]]:
    """The ledger: every recorded attempt of every job, with its job's status and result."""
    with closing(sqlite3.connect(shop.folder / "store.db", timeout=PATIENCE)) as connection:
        rows = connection.execute(
            "SELECT i.job_id, i.attempt, j.status, j.result"
            " FROM rj_inbox i JOIN rj_jobs j USING (namespace, job_id)"
        ).fetchall()
    found: dict[str, list[tuple[int, str, bytes]]] = {}
    for job_id, attempt, status, result in rows:
        found.setdefault(job_id, []).append((attempt, status, result))
    return found


def balance(shop: Crew, sent: dict[str, int]) -> None:
    """Every job was done and recorded exactly once, and nothing is left in the queue."""
    ledger = recorded(shop)
    assert ledger == {
        job_id: [(1, "succeeded", str(number).encode())] for job_id, number in sent.items()
    }
    assert {int(line) for line in shop.lines()} == set(sent.values())
    assert shop.total("q.work") == 0


def test_a_killed_worker_loses_none_of_a_thousand_jobs(shop: Crew) -> None:
    """kill -9 in the middle: what it held is delivered to the other one."""
    mark = shop.app.remote("mark", queue="work")
    victim, other = shop.consume("work"), shop.consume("work")
    for worker in (victim, other):
        worker.says("healthy: consuming")
    sent = shop.app.send_many(mark.call(number) for number in range(1000))
    assert all(one.ok for one in sent)
    until(lambda: len(shop.lines()) >= 200)
    victim.signal(signal.SIGKILL)
    assert victim.ends() == -signal.SIGKILL
    until(lambda: len(recorded(shop)) == 1000, why=lambda: other.log)
    other.signal(signal.SIGTERM)
    assert other.ends() == 0
    balance(shop, {one.handle.id: number for number, one in enumerate(sent)})


@pytest.mark.timeout(240)
def test_a_broker_that_restarts_loses_nothing(own_shop: Crew) -> None:
    """While jobs are sent and run: unconfirmed sends are sent again under the same id."""
    mark = own_shop.app.remote("mark", queue="work")
    worker = own_shop.consume("work")
    worker.says("healthy: consuming")
    sent: dict[str, int] = {}
    stop = threading.Event()

    def send() -> None:
        while not stop.is_set() and len(sent) < 3000:
            job_id, number = uuid7(), len(sent)
            while True:
                try:
                    mark.options(id=job_id).send(number)
                    break
                except SendError:
                    if stop.is_set():
                        return
                    continue
            sent[job_id] = number

    sender = threading.Thread(target=send)
    sender.start()
    try:
        until(lambda: len(own_shop.lines()) >= 50)
        before = len(sent)
        own_shop.node.restart()
        until(lambda: len(sent) >= before + 100, why=lambda: len(sent))
    finally:
        stop.set()
        sender.join()
    until(lambda: len(recorded(own_shop)) == len(sent), why=lambda: worker.log)
    worker.signal(signal.SIGTERM)
    assert worker.ends() == 0, worker.log
    assert "unhealthy: waiting" in worker.log
    balance(own_shop, sent)
