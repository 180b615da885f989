"""The supervisor starts again what crashed, whatever the crash left behind."""

from __future__ import annotations

import asyncio
import sys

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
