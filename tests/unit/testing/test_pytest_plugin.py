"""The pytest plugin, used as its users use it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from rabbitjobs import RabbitJobs
from rabbitjobs.backend.protocol import Status
from rabbitjobs.errors import JobFailed
from rabbitjobs.events import JobEnded, JobSucceeded
from rabbitjobs.job.signals import Ignore
from rabbitjobs.testing.trial import Trial

pytest_plugins = ["rabbitjobs.testing.pytest_plugin"]

app = RabbitJobs("trial")
ran: list[str] = []


@app.job("greet")
async def greet(name: str, *, times: int = 1) -> str:
    ran.append(name)
    return " ".join(["hello", *[name] * times])


@app.job("sync")
def sync(number: int) -> int:
    greet.send(f"number {number}")
    return number * 2


@app.job("flaky")
async def flaky(key: str) -> int:
    ran.append(key)
    if ran.count(key) < 3:
        raise TimeoutError("not yet")
    return ran.count(key)


@app.job("doomed")
async def doomed() -> None:
    raise Ignore("no use")


far = app.remote("elsewhere", queue="far")


@pytest.fixture
def rj_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RabbitJobs:
    """The app on trial, away from the config folder of this repository."""
    monkeypatch.chdir(tmp_path)
    ran.clear()
    return app


def test_a_send_is_seen_and_not_run(rj: Trial) -> None:
    """What was sent can be asserted, by arguments in any form."""
    greet.send("world", times=2)
    sent = rj.assert_sent(greet, name="world", times=2)
    assert sent.args == ("world",)
    assert sent.queue == "default"
    assert ran == []


def test_assertions_say_what_was_sent_instead(rj: Trial) -> None:
    """A failing assertion shows the sends."""
    greet.send("world")
    with pytest.raises(AssertionError, match=r"greet\('moon'\) to be sent, got:\n.*'world'"):
        rj.assert_sent("greet", "moon")
    with pytest.raises(AssertionError, match="sync to be sent"):
        rj.assert_sent(sync)
    with pytest.raises(AssertionError, match="got 1 sends"):
        rj.assert_not_sent(greet)
    rj.assert_not_sent(sync)


def test_drain_runs_jobs_and_what_they_send(rj: Trial) -> None:
    """A sync job on a thread sends another one; both ended, results can be read."""
    handle = sync.send(21)
    ended = rj.drain()
    assert {type(event) for event in ended} == {JobSucceeded}
    assert sorted(event.job for event in ended) == ["greet", "sync"]
    assert handle.result(timeout=5) == 42
    rj.assert_sent(greet, "number 21")
    assert rj.drain() == ()


def test_retries_and_delays_pass_at_once_in_memory(rj: Trial) -> None:
    """Two retries of 5 and 20 seconds and a delay of a day take no time."""
    handle = flaky.send("f")
    later = greet.options(delay=timedelta(days=1)).send("tomorrow")
    rj.drain(timeout=20)
    assert handle.result(timeout=5) == 3
    assert later.status() is Status.SUCCEEDED


def test_a_job_that_fails_raises_nothing_in_drain(rj: Trial) -> None:
    """How it ended is in the return value, and in the result."""
    handle = doomed.send()
    (ended,) = rj.drain()
    assert isinstance(ended, JobEnded)
    assert ended.status == "ignored"
    with pytest.raises(JobFailed, match="no use"):
        handle.result(timeout=5)


async def test_async_tests_drain_too(rj: Trial) -> None:
    """Jobs run in a thread with a loop of its own."""
    handle = await greet.asend("async")
    await rj.adrain()
    assert await handle.aresult(timeout=5) == "hello async"


def test_each_test_begins_empty(rj: Trial) -> None:
    """Nothing is left from the tests before."""
    assert rj.sent == ()
    assert rj.drain() == ()


def test_a_remote_job_is_recorded_by_name(rj: Trial) -> None:
    """Its code is elsewhere; its queue belongs to the topology."""
    far.send(1, a=2)
    assert rj.assert_sent("elsewhere", 1, a=2).queue == "far"


def test_what_does_not_end_in_time_is_an_assertion(rj: Trial) -> None:
    """The message names the jobs that are left."""
    handle = far.send()
    with pytest.raises(AssertionError, match=handle.id):
        rj.drain(timeout=0)
