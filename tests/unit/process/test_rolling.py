"""The rolling restart by itself: what counts as working, and what happens when it does not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rabbitjobs import events
from rabbitjobs.process import rolling
from rabbitjobs.process import supervisor as module
from rabbitjobs.process.child import Child
from rabbitjobs.process.supervisor import Supervisor

PATIENCE = 60.0
# A worker in short: it says that it consumes if it may, and ends at SIGTERM; while there is a file
# to hold it, at the second one.
WORKS = """
import json, os, signal, sys
def say(state):
    line = json.dumps({"state": state, "reason": ""}) + chr(10)
    os.write(int(os.environ["RABBITJOBS_STATUS_FD"]), line.encode())
ended = []
signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
mode = open(sys.argv[1]).read()
if mode == "dies":
    sys.exit(3)
say("waiting" if mode == "waits" else "consuming")
signal.sigwait({signal.SIGTERM})
say("stopping")
while os.path.exists(sys.argv[1] + "-hold"):
    if signal.sigtimedwait({signal.SIGTERM}, 0.01):
        open(sys.argv[1] + "-sharp", "w").close()
        break
"""


class Team:
    """A supervisor with such workers; ``mode`` is what those that start from now on are like."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.file = folder / "mode"
        self.mode("works")
        command = (sys.executable, "-S", "-c", WORKS, str(self.file))
        groups = [name.split()[0] for name in names]
        self.seen: list[events.Event] = []
        bus = events.Bus()
        bus.listen(self.seen.append)
        children = [Child(name, command, group=g) for name, g in zip(names, groups, strict=True)]
        self.supervisor = Supervisor(children, grace=PATIENCE, table=False, bus=bus)

    def mode(self, text: str) -> None:
        """How workers are from now on."""
        self.file.write_text(text)

    @property
    def pids(self) -> dict[str, int | None]:
        """Who works under which name, new ones that are tried out included."""
        return {f"{one.name}{'?' * one.trial}": one.pid for one in self.supervisor.children}

    async def until(self, *states: str) -> None:
        """Wait until the workers stand there, in their order."""
        async with asyncio.timeout(PATIENCE):
            while [one.state for one in self.supervisor.children] != list(states):
                await asyncio.sleep(0.005)

    async def told(self, count: int) -> list[tuple[str, str]]:
        """Wait for so many events; returns their kinds and the names of the processes."""
        async with asyncio.timeout(PATIENCE):
            while len(self.seen) < count:
                await asyncio.sleep(0.005)
        return [(type(one).__name__, getattr(one, "process", "")) for one in self.seen]


@asynccontextmanager
async def running(team: Team) -> AsyncIterator[asyncio.Task[int]]:
    """The supervisor at work; it is ended in order."""
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(team.supervisor._main())
    try:
        await team.until(*["consuming"] * len(team.supervisor.children))
        yield task
    finally:
        if not task.done():
            os.kill(os.getpid(), signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await task
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)


async def test_each_is_replaced_and_keeps_its_name_and_place(tmp_path: Path) -> None:
    """And the supervisor ends well afterwards."""
    team = Team(tmp_path, "a 1", "a 2", "b")
    async with running(team) as task:
        before = team.pids
        os.kill(os.getpid(), signal.SIGHUP)
        told = await team.told(3)
        assert told == [("ProcessRenewed", name) for name in ("a 1", "a 2", "b")]
        await team.until("consuming", "consuming", "consuming")
        assert list(team.pids) == list(before)
        assert not set(before.values()) & set(team.pids.values())
    assert task.result() == 0


@pytest.mark.parametrize("mode", ["dies", "waits"])
async def test_one_that_does_not_work_in_time_leaves_the_old_ones_of_its_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """It is not started again, its queue is left alone, and the next round may succeed."""
    monkeypatch.setattr(rolling, "TRIAL_SECONDS", 0.3 if mode == "waits" else PATIENCE)
    team = Team(tmp_path, "a 1", "a 2")
    async with running(team) as task:
        before = team.pids
        team.mode(mode)
        os.kill(os.getpid(), signal.SIGHUP)
        assert await team.told(1) == [("ProcessNotRenewed", "a 1")]
        await team.until("consuming", "consuming")
        assert team.pids == before
        monkeypatch.setattr(rolling, "TRIAL_SECONDS", PATIENCE)
        team.mode("works")
        os.kill(os.getpid(), signal.SIGHUP)
        told = await team.told(3)
        assert told[1:] == [("ProcessRenewed", "a 1"), ("ProcessRenewed", "a 2")]
    assert task.result() == 0


async def test_one_that_crashes_all_the_time_is_replaced_during_its_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A good release ends a crash loop at once; the pause is not waited for."""
    monkeypatch.setattr(module, "_pause", lambda _failures: 3600.0)
    team = Team(tmp_path, "a")
    async with running(team) as task:
        team.mode("dies")
        (old,) = team.pids.values()
        assert old is not None
        os.kill(old, signal.SIGKILL)
        await team.until("restarting")
        team.mode("works")
        os.kill(os.getpid(), signal.SIGHUP)
        assert await team.told(2) == [("ProcessEnded", "a"), ("ProcessRenewed", "a")]
        await team.until("consuming")
    assert task.result() == 0


async def test_the_end_comes_in_the_middle_of_a_trial(tmp_path: Path) -> None:
    """The new one that waits ends with the others; nothing is reported of it."""
    team = Team(tmp_path, "a")
    async with running(team) as task:
        team.mode("waits")
        os.kill(os.getpid(), signal.SIGHUP)
        await team.until("consuming", "waiting")
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            assert await task == 0
    assert team.seen == []


async def test_a_terminal_that_is_gone_ends_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hangup is for us then: nobody would ever see the processes again."""
    team = Team(tmp_path, "a")
    team.supervisor._terminal = True  # it had one at the start, and here it has none
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    async with running(team) as task:
        os.kill(os.getpid(), signal.SIGHUP)
        async with asyncio.timeout(PATIENCE):
            assert await task == 0
    assert team.seen == []


async def test_the_end_is_no_second_signal_for_one_that_was_replaced(tmp_path: Path) -> None:
    """It may finish what it has, as the others may; what is asked twice is sharp for all."""
    team = Team(tmp_path, "a")
    hold, sharp = tmp_path / "mode-hold", tmp_path / "mode-sharp"
    async with running(team) as task:
        hold.touch()
        os.kill(os.getpid(), signal.SIGHUP)
        await team.told(1)
        await team.until("stopping", "consuming")
        os.kill(os.getpid(), signal.SIGTERM)
        await team.until("stopping", "stopping")
        assert not sharp.exists()
        hold.unlink()
        async with asyncio.timeout(PATIENCE):
            assert await task == 0
    assert not sharp.exists()
