"""rabbitjobs as it is by default: quorum queues, confirms, acks after completion, rules, events."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from itertools import islice, repeat
from pathlib import Path

from marks import (
    PAYLOAD,
    URL,
    Hopeless,
    Passing,
    Trips,
    atime_sends,
    attempt,
    count,
    failing_payloads,
    mark,
    say,
    say_times,
    time_sends,
    told,
)

from rabbitjobs import Context, RabbitJobs, Sent, rules

CONFIG = Path(__file__).with_name("config")
os.environ["RABBITJOBS_URL"] = URL
STORE = os.environ.get("BENCH_STORE")
if STORE:
    os.environ["RABBITJOBS_STORE_URL"] = STORE

app = RabbitJobs(config=CONFIG)


@app.job(queue="coroutines", ignore_result=not STORE)
async def noop(payload: str) -> int:
    """The job as a coroutine."""
    mark(payload)
    return 1


@app.job(queue="threads", ignore_result=not STORE)
def threaded(payload: str) -> int:
    """The job on a thread."""
    mark(payload)
    return 1


@app.job(queue="children", ignore_result=not STORE)
def crunched(payload: str) -> int:
    """The job in a child process."""
    mark(payload)
    return 1


@app.job(
    queue="failing",
    on=[rules.retry("at-once", on=Passing), rules.review(on=Hopeless)],
    ignore_result=True,
)
async def failing(payload: str, context: Context) -> None:
    """The job that fails now and then."""
    attempt(payload, context.attempt == 1)


JOBS = {"coroutines": noop, "threads": threaded, "children": crunched, "failing": failing}
JOB = JOBS[os.environ.get("BENCH_QUEUE", "coroutines")]


def send_many() -> None:
    """Send all of them, 100,000 in a call, and check that each was confirmed."""
    warm = min(200, count() // 5)
    check(app.send_many(JOB.call(PAYLOAD) for _ in range(warm)))
    calls = repeat(JOB.call(PAYLOAD), count() - warm)
    seconds = cpu = 0.0
    while batch := list(islice(calls, 100_000)):
        before, used = time.perf_counter(), time.process_time()
        sent = app.send_many(batch)
        seconds += time.perf_counter() - before
        cpu += time.process_time() - used
        check(sent)
    say(seconds=seconds, cpu=cpu, timed=count() - warm, sent=count())


def check(sent: list[Sent]) -> None:
    """Each of them was confirmed."""
    assert all(one.ok for one in sent), [one.error for one in sent if not one.ok][:3]


def send_failing() -> None:
    """Send jobs of the failing kind."""
    check(app.send_many(failing.call(payload) for payload in failing_payloads(desk=True)))
    say(sent=count())


def result_trips() -> None:
    """Send, and block until the result is there."""
    times = []
    for _ in repeat(None, count()):
        before = time.perf_counter()
        assert JOB.send("").result(timeout=30) == 1
        times.append(time.perf_counter() - before)
    say_times(times)


COMMANDS = {
    "apply": app.apply,
    "send": lambda: time_sends(JOB.send),
    "asend": lambda: asyncio.run(atime_sends(JOB.asend)),
    "send-many": send_many,
    "send-failing": send_failing,
    "trip": lambda: Trips().run(JOB.send),
    "atrip": lambda: asyncio.run(Trips().arun(JOB.asend)),
    "results": result_trips,
}

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    COMMANDS[told()]()
    app.close()
