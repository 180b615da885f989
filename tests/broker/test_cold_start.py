"""A worker's first job waits for nothing that only later ones need."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from rabbitjobs.backend.protocol import Status
from rabbitjobs.broker.node import Node
from rabbitjobs.store.fresh import REVISIONS
from tests.broker.crew import Crew, crew, until

SHOP = """
import sys
from rabbitjobs import Context, RabbitJobs, Review

app = RabbitJobs()


def loaded() -> None:
    with open("loaded", "a") as out:
        print(*sorted({name.partition(".")[0] for name in sys.modules}), file=out)


@app.job("forgotten", queue="forgotten", ignore_result=True)
async def forgotten() -> None:
    loaded()


@app.job("kept", queue="kept")
async def kept(ctx: Context) -> int:
    ctx.progress(50)
    return 1


@app.job("fails", queue="forgotten", ignore_result=True)
async def fails() -> None:
    raise Review("a fault")
"""
TOPOLOGY = """
version: 1
namespace: shop
queues: {forgotten: {}, kept: {}}
"""
SLOW = {"sqlalchemy", "alembic", "rich", "httpx", "pydantic"}


@pytest.fixture
def shop(node: Node, tmp_path: Path) -> Iterator[Crew]:
    """Nobody has opened its store yet."""
    with crew(node, tmp_path, SHOP, TOPOLOGY, store="state/store.db") as found:
        yield found


def test_who_only_sends_loads_no_database_and_makes_no_store(shop: Crew) -> None:
    """Handles ask for the store when something is read, and read it then."""
    program = """
import shop
handle = shop.kept.send()
shop.app.send_many([shop.kept.call()])
shop.loaded()
print(handle.id)
"""
    job_id = shop.python(program).strip()
    (loaded,) = shop.lines("loaded")
    # structlog, which Context is typed by, imports the bare package of rich.
    assert SLOW & set(loaded.split()) <= {"rich"}
    assert not (shop.folder / "state").exists()
    assert shop.app.handle(job_id).status() is Status.UNKNOWN


def test_a_worker_loads_nothing_slow_before_its_first_job(shop: Crew) -> None:
    """With a store that it makes, and with one that it finds; what fails is recorded all the same.

    A job that keeps no result and succeeds at once leaves no trace: its worker needs no store.
    """
    for times in (1, 2):
        shop.python("import shop; shop.forgotten.send()")
        worker = shop.consume("forgotten")
        until(lambda: len(shop.lines("loaded")) == times, why=lambda: worker.log)  # noqa: B023
        assert "it serves the processes of this machine only" in worker.log
        until(lambda: shop.total("q.forgotten") == 0)
        with closing(sqlite3.connect(shop.folder / "state" / "store.db")) as store:
            assert store.execute("SELECT * FROM rj_version").fetchall() == [(REVISIONS[-1],)]
        if times == 1:
            worker.process.terminate()
            assert worker.ends() == 0
    for line in shop.lines("loaded"):
        assert not SLOW & set(line.split())
    failed = shop.python("import shop; print(shop.fails.send().id)").strip()
    shop.until_status(Status.IN_REVIEW, failed)


def test_the_first_result_is_stored_though_the_store_is_opened_late(shop: Crew) -> None:
    """Its progress and its ending wait until the store is there."""
    job = shop.python("import shop; print(shop.kept.send().id)").strip()
    shop.consume("kept")
    shop.until_status(Status.SUCCEEDED, job)
    assert shop.app.handle(job).result(timeout=10) == 1
