"""The supervisor starts again what crashed, whatever the crash left behind."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
from typing import Any

import pytest

from rabbitjobs.process import supervisor as module
from rabbitjobs.process.child import Child
from rabbitjobs.process.supervisor import Supervisor

FORKS_AND_DIES = "import os, time\nif os.fork() == 0: time.sleep(8)\nelse: os._exit(3)"


async def test_a_process_that_outlives_its_parent_does_not_hold_up_the_restart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It inherited the pipe by which its parent told where it stands."""
    monkeypatch.setattr(module, "WATCH_SECONDS", 0.1)
    child = Child("forks", (sys.executable, "-c", FORKS_AND_DIES))
    supervisor = Supervisor([child], grace=1)
    keeping = asyncio.create_task(supervisor._keep(child))
    async with asyncio.timeout(5):
        while not child.restarts:
            await asyncio.sleep(0.02)
    assert child.reason.startswith("ended with exit code 3")
    supervisor._stopping.set()
    async with asyncio.timeout(5):
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
    child = Child("sleeps", (sys.executable, "-c", "import time; time.sleep(60)"))
    supervisor = Supervisor([child], grace=1)
    keeping = asyncio.create_task(supervisor._keep(child))
    async with asyncio.timeout(5):
        while child.process is None and not keeping.done():
            await asyncio.sleep(0.01)
    assert (child.restarts, keeping.done()) == (1, False)
    supervisor._stopping.set()
    supervisor._signal(child, signal.SIGTERM)
    async with asyncio.timeout(5):
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
    child = Child("sleeps", (sys.executable, "-c", "import time; time.sleep(60)"))
    supervisor = Supervisor([child], grace=1)
    keeping = asyncio.create_task(supervisor._keep(child))
    async with asyncio.timeout(5):
        while len(starts) < 2 or child.process is None:
            await asyncio.sleep(0.02)
    assert (child.restarts, child.failures, child.renewing) == (0, 0, False)
    supervisor._stopping.set()
    supervisor._signal(child, signal.SIGTERM)
    async with asyncio.timeout(5):
        await keeping
    assert len(starts) == 2


async def test_a_process_that_ends_while_it_is_renewed_does_not_wait_for_its_backoff(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The renewal that comes between its end and the pause counts as well."""
    monkeypatch.setattr(module, "WATCH_SECONDS", 1.0)
    monkeypatch.setattr(module, "_pause", lambda failures: 60.0)
    child = Child("forks", (sys.executable, "-c", FORKS_AND_DIES))
    supervisor = Supervisor([child], grace=1)
    keeping = asyncio.create_task(supervisor._keep(child))
    async with asyncio.timeout(5):
        while child.process is None:
            await asyncio.sleep(0.01)
        first = child.since
        while child.process is not None:
            await asyncio.sleep(0.01)
        supervisor.renew()
        while child.since == first:
            await asyncio.sleep(0.01)
    supervisor._stopping.set()
    async with asyncio.timeout(5):
        await keeping
