"""A store that takes no writes for a while: nothing is acked, nothing is lost, and it goes on."""

from __future__ import annotations

import json
import os
import resource
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from rabbitjobs.backend.protocol import Status
from rabbitjobs.broker.node import Node
from tests.broker.crew import NOTE, PATIENCE, Crew, Worker, crew, until

SHOP = NOTE
TOPOLOGY = """
version: 1
namespace: shop
queues:
  work: {concurrency: 10}
"""
JOBS = 10
# Root may write into any file: without these two capabilities rights count for it as well.
OBEYING = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


@pytest.fixture
def shop(node: Node, tmp_path: Path) -> Iterator[Crew]:
    """Its store stands in a folder of its own."""
    with crew(node, tmp_path, SHOP, TOPOLOGY, store="store/store.db") as found:
        yield found
        forbid(found, writing=False)


def forbid(shop: Crew, *, writing: bool) -> None:
    """Take away the right to write to the store's folder and files, or give it back."""
    folder = shop.folder / "store"
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # a log that its last reader took along
            path.chmod(0o400 if writing else 0o600)
    folder.chmod(0o500 if writing else 0o700)


def lines(worker: Worker, queue: str = "") -> list[dict[str, Any]]:
    """The log, line by line; what it says of one queue."""
    found = [json.loads(line) for line in worker.log.splitlines() if line.startswith("{")]
    return [line for line in found if not queue or line.get("queue") == queue]


def recorded_once(shop: Crew, ids: list[str]) -> None:
    """Every job has its outcome, nothing is left, and each ran."""
    shop.until_status(Status.SUCCEEDED, *ids)
    until(lambda: shop.total("q.work") == 0)
    assert shop.total("review") == shop.total("quarantine") == 0
    assert sorted(shop.lines(), key=int) == [str(number) for number in range(JOBS)]


def test_a_store_that_may_not_be_written_to_delays_the_jobs(shop: Crew) -> None:
    """The files are read-only when the worker starts: nobody can say what is cancelled, so its jobs
    wait, and run once when the store is back."""
    assert shop.app.parts.store is not None
    shop.app.parts.store.migrate()
    shop.app.close()
    forbid(shop, writing=True)
    worker = shop.start("consume", "work", wrapped=OBEYING if os.geteuid() == 0 else ())
    worker.says("the store cannot be used")
    worker.says("healthy: consuming")
    job = shop.app.remote("note", queue="work")
    ids = [job.send(number).id for number in range(JOBS)]
    worker.says("ending waits for the store or the broker; nothing is acked")
    assert shop.lines() == []
    assert shop.total("q.work") == JOBS
    forbid(shop, writing=False)
    recorded_once(shop, ids)
    assert worker.process.poll() is None


def test_a_disk_that_is_full_in_the_middle_delays_the_endings(shop: Crew) -> None:
    """The worker may write no file beyond what the store's log has now, and later it may again."""
    worker = shop.consume("work")
    worker.says("healthy: consuming")
    job = shop.app.remote("note", queue="work")
    first = job.send(0).id
    shop.until_status(Status.SUCCEEDED, first)
    size = (shop.folder / "store" / "store.db-wal").stat().st_size
    assert worker.path.stat().st_size < size // 2
    before = resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE, (size, before[1]))
    ids = [job.send(number).id for number in range(1, JOBS)]
    worker.says("ending waits for the store or the broker; nothing is acked")
    until(lambda: len(shop.lines()) == JOBS, why=lambda: worker.log)
    assert shop.total("q.work") == JOBS - 1
    assert Status.SUCCEEDED not in {shop.status(job_id) for job_id in ids}
    resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE, before)
    recorded_once(shop, [first, *ids])
    assert worker.process.poll() is None


def test_the_upkeep_survives_a_store_that_fails(shop: Crew) -> None:
    """It says so once, tries again, says that it goes on, and deletes what has expired."""
    worker = shop.consume("work")
    worker.says("healthy: consuming")
    expired = shop.app.remote("note", queue="work").send(1).id
    shop.until_status(Status.SUCCEEDED, expired)
    worker.signal(signal.SIGTERM)
    assert worker.ends() == 0
    shop.app.close()
    file = shop.folder / "store" / "store.db"
    with closing(sqlite3.connect(file, timeout=PATIENCE)) as store:
        store.execute("UPDATE rj_jobs SET expires = 1")
        for table in ("rj_jobs", "rj_outbox"):
            store.execute(f"ALTER TABLE {table} RENAME TO away_{table}")
        store.commit()
        intake = shop.start("intake")
        intake.says("unhealthy: delayed", times=2)
        # The relay asks twice a second, and the sweep every few seconds after a failure.
        store.execute("ALTER TABLE away_rj_outbox RENAME TO rj_outbox")
        store.commit()
        until(lambda: len(lines(intake, "outbox")) == 2, why=lambda: intake.log)
        assert rows(store, "away_rj_jobs") == 1
        store.execute("ALTER TABLE away_rj_jobs RENAME TO rj_jobs")
        store.commit()
        until(lambda: len(lines(intake, "store")) == 2, why=lambda: intake.log)
        assert rows(store, "rj_jobs") == 0
    for queue in ("outbox", "store"):
        trouble, well = lines(intake, queue)
        assert trouble["event"] == "unhealthy: delayed"
        assert "no such table" in trouble["reason"]
        assert well["event"] == "healthy: consuming"
    intake.signal(signal.SIGTERM)
    assert intake.ends() == 0


def rows(store: sqlite3.Connection, table: str) -> int:
    """How many there are."""
    return int(store.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
