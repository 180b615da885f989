"""rabbitjobs as it is by default: quorum queues, confirms, acks after completion, rules, events."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from itertools import repeat
from pathlib import Path

from marks import PAYLOAD, URL, Trips, atime_sends, count, mark, say, say_times, time_sends, told

from rabbitjobs import RabbitJobs

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


JOBS = {"coroutines": noop, "threads": threaded}
JOB = JOBS[os.environ.get("BENCH_QUEUE", "coroutines")]


def send_many() -> None:
    """Send all of them in one call, and check that each was confirmed."""
    app.send_many(JOB.call(PAYLOAD) for _ in range(200))
    calls = [JOB.call(PAYLOAD)] * (count() - 200)
    before, cpu = time.perf_counter(), time.process_time()
    sent = app.send_many(calls)
    seconds, cpu = time.perf_counter() - before, time.process_time() - cpu
    assert all(one.ok for one in sent), [one.error for one in sent if not one.ok][:3]
    say(seconds=seconds, cpu=cpu, timed=len(sent), sent=count())


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
    "trip": lambda: Trips().run(JOB.send),
    "atrip": lambda: asyncio.run(Trips().arun(JOB.asend)),
    "results": result_trips,
}

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    COMMANDS[told()]()
    app.close()
