"""The supervisor starts again what crashed, whatever the crash left behind."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rabbitjobs.process import supervisor as module
from rabbitjobs.process.child import Child
from rabbitjobs.process.supervisor import Supervisor

PATIENCE = 60.0
# What it leaves behind lives longer than anybody waits, and ends with the test.
FORKS_AND_DIES = """
import os, sys, time
if os.fork():
    os._exit(3)
until = time.monotonic() + 100
while not os.path.exists(sys.argv[1]) and time.monotonic() < until:
    time.sleep(0.02)
"""


@pytest.fixture
def forks(tmp_path: Path) -> Iterator[Child]:
    """A process whose own child outlives it."""
    end = tmp_path / "end"
    yield Child("forks", (sys.executable, "-c", FORKS_AND_DIES, str(end)))
    end.touch()


async def test_a_process_that_outlives_its_parent_does_not_hold_up_the_restart(
    forks: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It inherited the pipe by which its parent told where it stands."""
    monkeypatch.setattr(module, "WATCH_SECONDS", 0.1)
    supervisor = Supervisor([forks], grace=PATIENCE)
    keeping = asyncio.create_task(supervisor._keep(forks))
    async with asyncio.timeout(PATIENCE):
        while not forks.restarts:
            await asyncio.sleep(0.02)
    assert forks.reason.startswith("ended with exit code 3")
    supervisor._stopping.set()
    async with asyncio.timeout(PATIENCE):
        await keeping


async def test_a_process_that_cannot_be_started_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The limit of processes, say: the others would end with their supervisor."""
    real, starts = asyncio.create_subprocess_exec, iter([True])

    async def start(*command: str, **options: Any) -> asyncio.subprocess.Process:
        if next(starts, False):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return await real(*command, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
    monkeypatch.setattr(module, "_pause", lambda failures: 0.01)
    child = Child("sleeps", (sys.executable, "-c", "import time; time.sleep(600)"))
    supervisor = Supervisor([child], grace=PATIENCE)
    keeping = asyncio.create_task(supervisor._keep(child))
    async with asyncio.timeout(PATIENCE):
        while child.process is None and not keeping.done():
            await asyncio.sleep(0.01)
    assert (child.restarts, keeping.done()) == (1, False)
    supervisor._stopping.set()
    supervisor._signal(child, signal.SIGTERM)
    async with asyncio.timeout(PATIENCE):
        await keeping


async def test_a_process_that_is_just_being_started_is_renewed_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may have read the code of before the change."""
    real = asyncio.create_subprocess_exec
    starts: list[int] = []

    async def start(*command: str, **options: Any) -> asyncio.subprocess.Process:
        process = await real(*command, **options)
        starts.append(process.pid)
        if len(starts) == 1:
            supervisor.renew()  # before the supervisor has it in its hands
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
    child = Child("sleeps", (sys.executable, "-c", "import time; time.sleep(600)"))
    supervisor = Supervisor([child], grace=PATIENCE)
    keeping = asyncio.create_task(supervisor._keep(child))
    async with asyncio.timeout(PATIENCE):
        while len(starts) < 2 or child.process is None:
            await asyncio.sleep(0.02)
    assert (child.restarts, child.failures, child.renewing) == (0, 0, False)
    supervisor._stopping.set()
    supervisor._signal(child, signal.SIGTERM)
    async with asyncio.timeout(PATIENCE):
        await keeping
    assert len(starts) == 2


async def test_a_process_that_ends_while_it_is_renewed_does_not_wait_for_its_backoff(
    forks: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The renewal that comes between its end and the pause counts as well."""
    monkeypatch.setattr(module, "WATCH_SECONDS", 0.1)
    monkeypatch.setattr(module, "_pause", lambda failures: 3600.0)
    supervisor = Supervisor([forks], grace=PATIENCE)
    wait, ended = supervisor._wait, list[float]()

    async def waited(child: Child, process: asyncio.subprocess.Process) -> int:
        code = await wait(child, process)
        ended.append(child.since)
        if len(ended) == 1:  # while what it left behind holds the pipe: before its pause
            asyncio.get_running_loop().call_later(0.01, supervisor.renew)
        return code

    monkeypatch.setattr(supervisor, "_wait", waited)
    keeping = asyncio.create_task(supervisor._keep(forks))
    async with asyncio.timeout(PATIENCE):
        while len(ended) < 2:
            await asyncio.sleep(0.01)
    supervisor._stopping.set()
    async with asyncio.timeout(PATIENCE):
        await keeping
