"""Cancelling jobs: queued, delayed and running ones, by id and by tag, on a real broker."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from rabbitjobs.backend.protocol import Status
from rabbitjobs.errors import CancelRefused, JobFailed
from tests.broker.crew import Crew, until

SHOP = """
import asyncio, time
from pathlib import Path
from rabbitjobs import Context, RabbitJobs, Retry

app = RabbitJobs()


def write(name, text):
    with open(name, "a") as file:
        print(text, file=file)


@app.job("note", queue="work")
def note(number: int) -> int:
    write("done", number)
    return number


@app.job("sleeps", queue="work")
async def sleeps(number: int) -> int:
    write("begun", number)
    try:
        await asyncio.sleep(3600)
    finally:
        write("cleaned", number)
    return number


@app.job("looks", queue="work")
def looks(ctx: Context, number: int) -> int:
    write("begun", number)
    while not ctx.cancelled:
        time.sleep(0.01)
    write("cleaned", number)
    return number


@app.job("deaf", queue="work")
def deaf(number: int) -> int:
    write("begun", number)
    while not Path("go").exists():
        time.sleep(0.01)
    return number


@app.job("child", queue="heavy")
def child(number: int) -> int:
    write("begun", number)
    time.sleep(3600)
    return number


@app.job("looking-child", queue="heavy")
def looking_child(ctx: Context, number: int) -> int:
    write("begun", number)
    while not ctx.cancelled:
        time.sleep(0.01)
    write("cleaned", number)
    return number


@app.job("again", queue="work")
def again(ctx: Context) -> int:
    write("begun", ctx.attempt)
    raise Retry("later")
"""
TOPOLOGY = """
version: 1
namespace: shop
retry:
  default: {attempts: 5, backoff: fixed, delay: 3s}
queues:
  work: {concurrency: 4}
  heavy: {pool: processes, children: 1, concurrency: 1}
"""


def job(shop: Crew, name: str, queue: str = "work") -> Any:
    """A job of the shop, by its name."""
    return shop.app.remote(name, queue=queue)


def test_a_queued_job_that_is_cancelled_never_runs(shop: Crew) -> None:
    """Who asked and why stands in its record; its neighbours run."""
    one, other = job(shop, "note").send(1), job(shop, "note").send(2)
    one.cancel("ordered twice", who="ann")
    shop.consume("work")
    assert other.result(timeout=40) == 2
    with pytest.raises(JobFailed, match="cancelled by ann: ordered twice") as failed:
        one.result(timeout=40)
    assert failed.value.state == "cancelled"
    assert shop.lines() == ["2"]
    until(lambda: shop.total("q.work") == 0)


def test_a_cancellation_outlives_the_workers_and_the_delay(shop: Crew) -> None:
    """Cancelled while it waits on the ladder; the worker that was there dies; dropped later on.

    By one that was not there yet, when the job comes. The delay has no process start in it, nor
    the first use of the store: it would be over before the first worker is.
    """
    first = shop.consume("work")
    first.says("consuming")
    shop.app.cancel("somebody else")
    late = job(shop, "note").options(delay=timedelta(seconds=6)).send(1)
    late.cancel()
    first.process.kill()
    first.ends()
    assert shop.status(late.id) is Status.UNKNOWN
    shop.consume("work")
    shop.until_status(Status.CANCELLED, late.id)
    assert shop.lines() == []


def test_running_jobs_end_as_their_pool_can(shop: Crew) -> None:
    """A coroutine is cancelled, a thread sees it, a child is killed; each ends as cancelled."""
    shop.consume("work")
    shop.consume("heavy")
    handles = [job(shop, "sleeps").send(1), job(shop, "looks").send(2)]
    handles.append(job(shop, "child", "heavy").send(3))
    until(lambda: sorted(shop.lines("begun")) == ["1", "2", "3"])
    shop.app.cancel(*(one.id for one in handles), grace=timedelta(seconds=0.5))
    shop.until_status(Status.CANCELLED, *(one.id for one in handles))
    assert sorted(shop.lines("cleaned")) == ["1", "2"]
    after = job(shop, "looking-child", "heavy").send(4)
    until(lambda: "4" in shop.lines("begun"))
    after.cancel()
    shop.until_status(Status.CANCELLED, after.id)
    assert "4" in shop.lines("cleaned")


def test_a_job_that_takes_no_notice_and_succeeds_has_succeeded(shop: Crew) -> None:
    """A thread cannot be ended: what it did is told as it is."""
    shop.consume("work")
    deaf = job(shop, "deaf").send(1)
    until(lambda: shop.lines("begun") == ["1"])
    shop.app.cancel(deaf.id, grace=timedelta(0))
    marker = job(shop, "note").send(2)
    assert marker.result(timeout=40) == 2
    (shop.folder / "go").touch()
    assert deaf.result(timeout=40) == 1


def test_a_tag_cancels_what_was_sent_before_and_nothing_after(shop: Crew) -> None:
    """Queued, running and waiting for a retry; a job of the same tag sent later runs."""
    shop.consume("work")
    shop.app.cancel("somebody else")  # opens the store: the retry comes in three seconds
    tagged = [job(shop, name).options(tag="order 7").send(*given) for name, given in (
        ("sleeps", (1,)), ("again", ()),
    )]  # fmt: skip
    other = job(shop, "sleeps").options(tag="order 8").send(5)
    until(lambda: len(shop.lines("begun")) == 3)
    shop.until_status(Status.RETRYING, tagged[1].id)
    shop.app.cancel(tag="order 7", who="bob")
    later = job(shop, "note").options(tag="order 7").send(9)
    shop.until_status(Status.CANCELLED, *(one.id for one in tagged))
    assert later.result(timeout=40) == 9
    assert shop.status(other.id) is Status.RUNNING
    assert shop.lines("begun").count("2") == 0


def test_its_unique_key_is_free_again(shop: Crew) -> None:
    """As after every ending."""
    first = job(shop, "note").options(unique="k").send(1)
    assert job(shop, "note").options(unique="k").send(1).id == first.id
    first.cancel()
    shop.consume("work")
    shop.until_status(Status.CANCELLED, first.id)
    second = job(shop, "note").options(unique="k").send(3)
    assert second.id != first.id
    assert second.result(timeout=40) == 3


def test_what_cannot_be_cancelled_is_refused(shop: Crew) -> None:
    """Neither ids nor a tag, and a grace that is none."""
    for ids, tag, grace in ((), None, 1), (("a",), "b", 1), (("",), None, 1), (("a",), None, -1):
        with pytest.raises(CancelRefused, match="expected"):
            shop.app.cancel(*ids, tag=tag, grace=timedelta(seconds=grace))


def test_a_worker_knows_without_being_told(shop: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own reads, where the canceller may not speak to the workers."""
    shop.consume("work")
    sleeping = job(shop, "sleeps").send(1)
    until(lambda: shop.lines("begun") == ["1"])
    shop.app.parts._may_tell = False
    sleeping.cancel()
    shop.until_status(Status.CANCELLED, sleeping.id)
    assert shop.lines("cleaned") == ["1"]
