"""Workers whose jobs run in child processes, and limits that end jobs."""

from __future__ import annotations

import signal
import subprocess

from rabbitjobs.backend.protocol import Status
from tests.broker.crew import Crew, until

SHOP = """
import atexit, os, time
from datetime import timedelta
from pathlib import Path
from rabbitjobs import Context, RabbitJobs

app = RabbitJobs()


def write(name, text):
    with open(name, "a") as file:
        print(text, file=file)


@app.job("where", queue="heavy")
def where() -> int:
    return os.getpid()


def leave():
    time.sleep(1.5)
    write("left", os.getpid())


@app.job("leaver", queue="heavy")
def leaver() -> int:
    atexit.register(leave)
    return os.getpid()


@app.job("deadly", queue="heavy")
def deadly(ctx: Context, times: int) -> int:
    if ctx.attempt <= times:
        os.kill(os.getpid(), 9)
    return ctx.attempt


@app.job("hold", queue="heavy")
def hold(number: int) -> int:
    write("done", f"{number} {os.getpid()}")
    while not Path("go").exists():
        time.sleep(0.01)
    return number


@app.job("order", queue="heavy")
def order() -> str:
    return where.send().id


@app.job("endless", queue="light", hard_limit=timedelta(seconds=0.5))
def endless(ctx: Context) -> int:
    if ctx.attempt == 1:
        Path("begun").touch()
        time.sleep(3600)
    return ctx.attempt
"""
TOPOLOGY = """
version: 1
namespace: shop
retry:
  default: {attempts: 3, backoff: fixed, delay: 100ms}
queues:
  heavy: {pool: processes, children: 2, concurrency: 4, max_jobs_per_child: 50}
  light: {}
"""


def test_a_child_that_dies_costs_an_attempt_of_its_own_job_only(shop: Crew) -> None:
    """The signal is told; the job is tried again, and goes to a person when it kills each time."""
    worker = shop.consume("heavy")
    deadly, where = (shop.app.remote(name, queue="heavy") for name in ("deadly", "where"))
    once, always = deadly.send(1), deadly.send(9)
    others = [where.send() for _ in range(20)]
    pids = {handle.result(timeout=40) for handle in others}
    assert worker.process.pid not in pids
    assert once.result(timeout=40) == 2
    shop.until_status(Status.IN_REVIEW, always.id)
    assert "killed by signal SIGKILL" in worker.log
    assert worker.process.poll() is None


def test_a_job_in_a_child_sends_others(shop: Crew) -> None:
    """With connections of its own."""
    shop.consume("heavy")
    sent = shop.app.remote("order", queue="heavy").send().result(timeout=40)
    assert shop.app.handle(sent).result(timeout=40) > 0


def test_sigterm_lets_children_finish_and_a_second_one_kills_them(shop: Crew) -> None:
    """What was abandoned is delivered again; no child outlives its worker."""
    hold = shop.app.remote("hold", queue="heavy")
    worker = shop.consume("heavy")
    first = hold.send(1)
    until(lambda: len(shop.lines()) == 1, why=lambda: worker.log)
    worker.signal(signal.SIGTERM)
    worker.says("worker stopping")
    assert worker.process.poll() is None
    (shop.folder / "go").touch()
    assert worker.ends() == 0, worker.log
    assert first.result(timeout=40) == 1
    (shop.folder / "go").unlink()

    worker = shop.consume("heavy")
    second = hold.send(2)
    until(lambda: len(shop.lines()) == 2, why=lambda: worker.log)
    for _ in range(2):
        worker.signal(signal.SIGTERM)
        worker.says("worker stopping")
    worker.ends()
    child = int(shop.lines()[1].split()[1])
    until(lambda: subprocess.run(["kill", "-0", str(child)], check=False).returncode != 0)
    (shop.folder / "go").touch()
    shop.consume("heavy")
    assert second.result(timeout=40) == 2


def test_children_without_a_job_leave_in_order_with_their_worker(shop: Crew) -> None:
    """Their exit handlers run, such as those that send off the last metrics."""
    worker = shop.consume("heavy")
    pid = shop.app.remote("leaver", queue="heavy").send().result(timeout=40)
    worker.signal(signal.SIGTERM)
    assert worker.ends() == 0, worker.log
    assert shop.lines("left") == [str(pid)]


def test_a_job_that_cannot_be_ended_is_given_up_and_the_process_renewed(shop: Crew) -> None:
    """Its attempt has failed with the hard limit; a worker that is started anew goes on."""
    worker = shop.consume("light", "--grace", "5s")
    job = shop.app.remote("endless", queue="light").send()
    worker.says("the process is renewed")
    assert worker.ends() == 0, worker.log
    assert "goes on beyond its hard limit of 0.5 s" in worker.log
    shop.consume("light")
    assert job.result(timeout=40) == 2


def test_a_pool_that_nobody_knows_is_refused_at_the_start(shop: Crew) -> None:
    """With file and line, in the config and in code."""
    (shop.folder / "config" / "topology.yaml").write_text(
        TOPOLOGY.replace("pool: processes", "pool: proceses"), encoding="utf-8"
    )
    (shop.folder / "shop.py").write_text(
        SHOP.replace('"where", queue="heavy"', '"where", queue="heavy", pool="asyncio"')
    )
    worker = shop.consume("heavy")
    assert worker.ends() != 0
    assert "topology.yaml:7: queues.heavy.pool: expected a pool (asyncio, threads" in worker.log
    assert "(did you mean 'processes'?), got 'proceses'" in worker.log
    assert "shop.py:15: job where: expected an async def for pool asyncio" in worker.log
