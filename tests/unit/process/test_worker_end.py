"""A worker process ends when it is told to, whatever its jobs do."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

SCRIPT = """
import asyncio, multiprocessing, os, signal, time
from rabbitjobs import RabbitJobs
from rabbitjobs.consumer.drained import Drained
from rabbitjobs.process import signals
from rabbitjobs.process.worker import Worker

signals.LATE_SECONDS, signals.SHARP_SECONDS = 1.0, 0.2


class Role:
    name = "test"
    health = ("consuming", "")

    async def start(self):
        self.task = asyncio.create_task(self.work())

    async def work(self):
        print("ready", flush=True)
        {job}

    async def drain(self, grace, hurry):
        return Drained(0, 0, int(not self.task.done()))


raise SystemExit(Worker(RabbitJobs(), [Role()], grace=0.1).run())
"""


def started(job: str) -> subprocess.Popen[str]:
    """A worker whose one job is this statement."""
    worker = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.replace("{job}", job)], stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == "ready\n"
    return worker


def ended(worker: subprocess.Popen[str]) -> int:
    """Its exit code, soon."""
    try:
        return worker.wait(60)
    finally:
        worker.kill()
        worker.communicate()


def test_a_job_on_a_thread_that_nobody_can_stop_is_left_to_the_broker() -> None:
    """asyncio would wait for the thread of ``asyncio.to_thread`` for as long as it takes."""
    worker = started("await asyncio.to_thread(time.sleep, 600)")
    worker.send_signal(signal.SIGTERM)
    assert ended(worker) == 0


@pytest.mark.parametrize("signals", [1, 2])
def test_a_job_that_blocks_the_loop_cannot_hold_the_process(signals: int) -> None:
    """The grace ends it, or sooner a second signal."""
    worker = started("time.sleep(600)")
    time.sleep(0.1)  # the line was written just before the loop is blocked
    for _ in range(signals):
        worker.send_signal(signal.SIGTERM)
        time.sleep(0.05)
    assert ended(worker) == 1


def test_a_process_forked_by_a_job_takes_its_own_signals() -> None:
    """asyncio's own handlers would hand the child's SIGTERM on to the worker."""
    fork = (
        "begun, say = os.pipe(); "
        "there = lambda: (os.write(say, b'x'), time.sleep(600)); "
        "child = multiprocessing.get_context('fork').Process(target=there); "
        "child.start(); await asyncio.to_thread(os.read, begun, 1); child.terminate(); "
        "await asyncio.to_thread(child.join); await asyncio.sleep(0.2); "
        "print('child', child.exitcode, flush=True)"
    )
    worker = started(fork)
    assert worker.stdout is not None
    assert worker.stdout.readline() == f"child {-signal.SIGTERM}\n"
    assert worker.poll() is None
    worker.send_signal(signal.SIGTERM)
    assert ended(worker) == 0
