"""What a job knows and says of itself, and what is around it, in every pool of a real worker."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from rabbitjobs.backend.protocol import Progress, Status
from tests.broker.crew import Crew, until

SHOP = """
import asyncio, os, threading, time
from datetime import timedelta
from pathlib import Path
from rabbitjobs import Context, RabbitJobs, Retry, events

app = RabbitJobs()
LIMITS = {"soft_limit": timedelta(seconds=30), "hard_limit": timedelta(minutes=1)}


def write(name, text):
    with open(name, "a") as file:
        print(text, file=file)


@app.middleware
def outer(context, call_next):
    write("around", f"outer {context.job} {context.attempt} {os.getpid()} {threading.get_ident()}")
    try:
        return call_next()
    finally:
        write("around", f"outer-end {context.job}")


@outer.twin
async def outer_async(context, call_next):
    write("around", f"outer {context.job} {context.attempt} {os.getpid()} {threading.get_ident()}")
    try:
        return await call_next()
    finally:
        write("around", f"outer-end {context.job}")


@app.middleware
def inner(context, call_next):
    write("around", f"inner {context.job}")
    value = call_next()
    if value == "strange":
        raise Retry("the middleware says so") if context.attempt == 1 else ValueError("by inner")
    return value


@inner.twin
async def inner_async(context, call_next):
    write("around", f"inner {context.job}")
    value = await call_next()
    if value == "strange":
        raise Retry("the middleware says so") if context.attempt == 1 else ValueError("by inner")
    return value


@app.on(events.JobEnded, events.JobRetrying)
def told(event):
    write("told", f"{type(event).__name__} {event.job} {event.attempt}")
    raise RuntimeError("a hook that fails changes nothing")


def worker(above):
    # Above a child is the process server, and above that the worker.
    return int(Path(f"/proc/{os.getppid()}/stat").read_text().split()[3]) if above else os.getpid()


def facts(ctx):
    ctx.log.warning("a line of the job")
    left = ctx.deadline - time.time()
    return {"id": ctx.job_id, "attempt": ctx.attempt, "soon": 0 < left <= 30,
            "pid": os.getpid(), "thread": threading.get_ident()}


@app.job("keep", queue="heavy")
def keep(text: str) -> str:
    write("kept", text)
    return text
"""
JOBS = """

@app.job("tell-POOL", queue="POOL", **LIMITS)
ASYNCdef tell_POOL(ctx: Context) -> dict:
    for step in range(1, 4):
        ctx.progress(step, 3, "going on")
    while not Path("seen").exists():
        AWAITSLEEP(0.01)
    return facts(ctx)


@app.job("strange-POOL", queue="POOL")
ASYNCdef strange_POOL() -> str:
    return "strange"


@app.job("follow-POOL", queue="POOL")
ASYNCdef follow_POOL(ctx: Context) -> list:
    found = []
    for text in ("a", "b", "a"):
        handle = AWAITctx.SEND(keep, f"{ctx.job} {text}")
        found.append(handle.id)
    write("ids", f"{ctx.job} " + " ".join(found))
    if not Path(f"died-{ctx.job}").exists():
        Path(f"died-{ctx.job}").touch()
        os.kill(worker("heavy" in ctx.job), 9)
        time.sleep(60)
    return found
"""
POOLS = {"loop": True, "threaded": False, "heavy": False, "heavyasync": True, "single": False}
for _pool, _async in POOLS.items():
    _code = JOBS.replace("POOL", _pool).replace("ASYNC", "async " if _async else "")
    _code = _code.replace("AWAIT", "await " if _async else "")
    _code = _code.replace("SLEEP", "asyncio.sleep" if _async else "time.sleep")
    SHOP += _code.replace("SEND", "asend" if _async else "send")
TOPOLOGY = """
version: 1
namespace: shop
retry:
  default: {attempts: 2, backoff: fixed, delay: 100ms}
queues:
  loop: {}
  threaded: {}
  heavy: {pool: processes, children: 1}
  heavyasync: {pool: processes, children: 1}
  single: {pool: solo}
"""


@pytest.mark.parametrize("pool", POOLS)
def test_a_job_sees_its_context_and_its_progress_is_seen(shop: Crew, pool: str) -> None:
    """By its handle, which has the newest, and as events, all of them; its log names it."""
    worker = shop.consume(pool)
    worker.says("healthy: consuming")
    watching = subprocess.Popen(
        [sys.executable, "-m", "rabbitjobs", "events", "--json", "--count", "5"],
        cwd=shop.folder, env=shop.environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert watching.stderr is not None
    assert "watching" in watching.stderr.readline()
    sent = shop.app.remote(f"tell-{pool}", queue=pool).send()
    until(lambda: sent.progress() == Progress(3, 3, "going on"), why=lambda: worker.log)
    (shop.folder / "seen").touch()
    found = sent.result(timeout=40)
    assert (found["id"], found["attempt"], found["soon"]) == (sent.id, 1, True)
    assert (found["pid"] == worker.process.pid) is ("heavy" not in pool)
    assert sent.progress() == Progress(3, 3, "going on")  # it stays
    seen: list[dict[str, Any]] = [
        json.loads(line) for line in watching.communicate(timeout=30)[0].splitlines()
    ]
    kinds = [one["event"] for one in seen]
    assert kinds == ["JobStarted", *["JobProgress"] * 3, "JobSucceeded"]
    assert [(one["done"], one["total"], one["note"]) for one in seen[1:4]] == [
        (step, 3, "going on") for step in (1, 2, 3)
    ]
    assert {(one["job"], one["job_id"], one["attempt"]) for one in seen} == {
        (f"tell-{pool}", sent.id, 1)
    }
    (line,) = [line for line in worker.log.splitlines() if "a line of the job" in line]
    assert sent.id in line


@pytest.mark.parametrize("pool", POOLS)
def test_middleware_is_around_the_job_and_its_exception_is_the_jobs(shop: Crew, pool: str) -> None:
    """In order, where the job runs, each time; a hook that fails is printed and changes nothing."""
    (shop.folder / "seen").touch()
    worker = shop.consume(pool)
    found = shop.app.remote(f"tell-{pool}", queue=pool).send().result(timeout=40)
    job = f"tell-{pool}"
    assert shop.lines("around") == [
        f"outer {job} 1 {found['pid']} {found['thread']}",
        f"inner {job}",
        f"outer-end {job}",
    ]
    strange = shop.app.remote(f"strange-{pool}", queue=pool).send()
    shop.until_status(Status.IN_REVIEW, strange.id)
    stored = strange.info()
    assert stored is not None
    assert (stored.attempt, stored.error_type, stored.error) == (2, "ValueError", "by inner")
    until(lambda: len(shop.lines("told")) == 2, why=lambda: worker.log)
    assert shop.lines("told") == [
        f"JobRetrying strange-{pool} 1",
        f"JobEnded strange-{pool} 2",
    ]
    worker.says("a hook that fails changes nothing")


@pytest.mark.parametrize("pool", ["loop", "threaded", "heavy"])
def test_a_rerun_sends_its_follow_ups_under_the_same_ids_and_they_run_once(
    shop: Crew, pool: str
) -> None:
    """The process dies after it sent them: the attempt runs again. Equal ones are kept apart."""
    first = shop.consume(pool)
    sent = shop.app.remote(f"follow-{pool}", queue=pool).send()
    first.ends()
    shop.consume(pool)
    ids = sent.result(timeout=40)
    assert len(set(ids)) == 3
    runs = [line.split() for line in shop.lines("ids")]
    assert runs == [[f"follow-{pool}", *ids]] * 2
    if pool != "heavy":
        shop.consume("heavy")
    shop.until_status(Status.SUCCEEDED, *ids)
    until(lambda: shop.total("q.heavy") == 0)
    assert sorted(shop.lines("kept")) == sorted(f"follow-{pool} {text}" for text in "aab")


def test_a_middleware_without_a_twin_is_told_at_the_start(shop: Crew) -> None:
    """Jobs of the other kind would run without it, and nobody would know."""
    code = SHOP.replace("@inner.twin", "").replace("@app.on(", "@app.on(  ")
    (shop.folder / "shop.py").write_text(code, encoding="utf-8")
    worker = shop.consume("loop")
    worker.says("healthy: consuming")
    assert "middleware shop.inner is not around follow-heavyasync, follow-loop" in worker.log
    assert "expected async def for those, got none; add it with @inner.twin" in worker.log
