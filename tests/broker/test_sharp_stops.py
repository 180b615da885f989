"""A second SIGTERM is sharp for every role, also where a server or the store hangs."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

from rabbitjobs.backend.protocol import Status
from rabbitjobs.process.signals import SHARP_SECONDS
from tests.broker.crew import NOTE, Crew, Worker, until

SHOP = f"""
{NOTE}

@app.job("fail", queue="work")
def fail(number: int) -> None:
    raise ValueError(f"order {{number}}")
"""
TOPOLOGY = """
version: 1
namespace: shop
queues:
  work:
    concurrency: 4
    on: [{error: "*", do: notify, then: review}]
"""
MAIL = """
notify:
  channels:
    - mail: {host: 127.0.0.1, port: %d, sender: a@shop.example, to: [b@shop.example], tls: none}
"""


@contextmanager
def locked(shop: Crew) -> Iterator[None]:
    """Somebody holds the store's write lock for as long as this lasts."""
    store = sqlite3.connect(shop.folder / "store.db", isolation_level=None)
    with closing(store):
        store.execute("BEGIN IMMEDIATE")
        yield
        store.execute("ROLLBACK")


def stop_sharply(worker: Worker) -> None:
    """Two signals; it must end in order before the emergency exit would end it."""
    worker.signal(signal.SIGTERM)
    worker.says("worker stopping")
    assert worker.process.poll() is None
    worker.signal(signal.SIGTERM)
    second = time.monotonic()
    assert worker.ends() == 0, worker.log
    assert time.monotonic() - second < SHARP_SECONDS, worker.log


def abandoned(worker: Worker) -> int:
    """What the last line says."""
    last = json.loads(worker.log.splitlines()[-1])
    assert last["event"] == "worker stopped", worker.log
    return int(last["abandoned"])


def fail(shop: Crew, count: int) -> list[str]:
    """Jobs that have failed: a notice and a review item of each wait."""
    worker = shop.consume("work")
    job = shop.app.remote("fail", queue="work")
    ids = [job.send(number).id for number in range(count)]
    shop.until_status(Status.IN_REVIEW, *ids)
    until(lambda: shop.total("q.work") == 0)
    worker.signal(signal.SIGTERM)
    assert worker.ends() == 0
    assert (shop.total("notify"), shop.total("review")) == (count, count)
    return ids


def test_the_notifier_whose_mail_server_hangs(shop: Crew) -> None:
    """It accepts and says nothing: the notice stays queued, and is told by the next notifier."""
    fail(shop, 3)
    config = shop.folder / "config" / "rabbitjobs.yaml"
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        server.settimeout(40)
        config.write_text(MAIL % server.getsockname()[1])
        worker = shop.start("notify", "run")
        caller, _ = server.accept()
        until(lambda: shop.ready("notify") == 0, why=lambda: worker.log)
        stop_sharply(worker)
        caller.close()
    assert abandoned(worker) == 3
    assert shop.total("notify") == 3
    config.unlink()
    told = shop.start("notify", "run")
    until(lambda: shop.total("notify") == 0, why=lambda: told.log)
    assert all(f"order {number}" in told.log for number in range(3)), told.log


def test_the_intake_whose_store_hangs(shop: Crew) -> None:
    """Each item stays queued until it is a case, and is one afterwards."""
    ids = fail(shop, 3)
    with locked(shop):
        worker = shop.start("intake")
        worker.says("healthy: consuming")
        until(lambda: shop.ready("review") == 0, why=lambda: worker.log)
        stop_sharply(worker)
        assert abandoned(worker) == 3
        assert shop.total("review") == 3
    shop.start("intake")
    until(lambda: shop.total("review") == 0)
    assert sorted(str(case.job_id) for case in shop.app.desk.list().cases) == sorted(ids)


def test_the_consumer_whose_store_hangs(shop: Crew) -> None:
    """A job that has run, but whose outcome is nowhere, is not acked: it runs again."""
    worker = shop.consume("work")
    worker.says("healthy: consuming")
    with locked(shop):
        job_id = shop.app.remote("note", queue="work").send(1).id
        until(lambda: shop.lines() == ["1"], why=lambda: worker.log)
        stop_sharply(worker)
        assert abandoned(worker) == 1
        assert shop.total("q.work") == 1
    shop.consume("work")
    shop.until_status(Status.SUCCEEDED, job_id)
    assert shop.lines() == ["1", "1"]


def test_one_signal_gives_back_what_waits_for_a_server(shop: Crew) -> None:
    """A notice between two tries goes back at once: nobody waits for the next try."""
    fail(shop, 2)
    (shop.folder / "config" / "rabbitjobs.yaml").write_text(MAIL % 1)
    worker = shop.start("notify", "run", "--grace", "30s")
    worker.says("notification not taken")
    until(lambda: shop.ready("notify") == 0, why=lambda: worker.log)
    worker.signal(signal.SIGTERM)
    assert worker.ends() == 0
    last = json.loads(worker.log.splitlines()[-1])
    assert (last["handed_back"], last["abandoned"]) == (2, 0)
    assert shop.total("notify") == 2
