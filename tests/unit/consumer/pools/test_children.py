"""Children that die, hang, leak or do not start: each costs its own job, and nothing else."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rabbitjobs.broker.local import wait_stopped
from rabbitjobs.consumer.pools.processes import ProcessPool
from rabbitjobs.testing.pools.kit import Bench, there

# Less than a job of the suite lives that nobody ends.
SOON = 10.0


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench(ProcessPool)
    yield bench
    await bench.end()


def lives(pid: int) -> bool:
    """Whether a process runs: one that nobody has waited for yet does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:  # not there, or it ended between opening and reading
        return False
    return state not in "ZX"


async def dead(pid: int) -> None:
    async with asyncio.timeout(SOON):
        while lives(pid):
            await asyncio.sleep(0.01)


# --- death ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "text"),
    [
        (signal.SIGKILL, "killed by signal SIGKILL; the kernel does so when memory runs out"),
        (signal.SIGSEGV, "killed by signal SIGSEGV"),
        (-3, "ended with exit code 3"),
        (0, "ended with exit code 0"),
    ],
)
async def test_a_dead_child_costs_its_own_job_only(
    bench: Bench, tmp_path: Path, how: int, text: str
) -> None:
    """The failure names the signal or exit code; the other child's job and the next go on."""
    bench.pool(size=2)
    other = asyncio.create_task(bench.value("meet", str(tmp_path), "here", "go"))
    await there(tmp_path / "here")
    failure = await bench.failure("die", int(how))
    assert (failure.kind, failure.error_type) == ("crash", "rabbitjobs.errors.ChildDied")
    assert text in failure.error
    assert await bench.value("give_back", 1) == 1
    (tmp_path / "go").touch()
    assert await other == "here"
    assert bench.reports == []


async def test_many_deaths_in_a_row_cost_as_many_jobs(bench: Bench) -> None:
    """No backoff between them: these children had started well."""
    bench.pool(size=2)
    jobs = [bench.run("die", 9) if turn % 2 else bench.run("give_back", turn) for turn in range(30)]
    ended = await asyncio.gather(*jobs)
    kinds = [failure.kind if failure else None for _, failure in ended]
    assert kinds == [None, "crash"] * 15


async def test_a_job_that_was_handed_over_but_not_begun_goes_to_another_child(
    bench: Bench,
) -> None:
    """It is no failure: nothing of it has run."""
    bench.pool(size=1)
    first = await bench.value("pid")
    os.kill(first, signal.SIGSTOP)
    wait_stopped(first)
    waiting = asyncio.create_task(bench.value("pid"))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    os.kill(first, signal.SIGKILL)
    assert await waiting != first


async def test_an_idle_child_that_dies_is_replaced(bench: Bench) -> None:
    bench.pool(size=1)
    first = await bench.value("pid")
    os.kill(first, signal.SIGKILL)
    await dead(first)
    assert await bench.value("pid") != first


async def test_the_process_server_may_die_as_well(bench: Bench, tmp_path: Path) -> None:
    """What ran has crashed; a new server makes new children."""
    bench.pool(size=1)
    server, child = await bench.value("parent"), await bench.value("pid")
    running = asyncio.create_task(bench.failure("meet", str(tmp_path), "here", "never"))
    await there(tmp_path / "here")
    os.kill(server, signal.SIGKILL)
    failure = await running
    assert failure.kind == "crash"
    assert "with the process server" in failure.error
    await dead(child)
    assert await bench.value("parent") not in (server, 1)
    assert bench.reports[0].startswith("the process server ended")
    assert bench.reports[-1] == ""


async def test_children_die_with_a_worker_that_is_killed(tmp_path: Path) -> None:
    """What they ran is delivered to others at once, and must not run on here."""
    import sys

    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.unit.consumer.pools.worker", str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert worker.stdout is not None
    server, child = (int(pid) for pid in (await worker.stdout.readline()).split())
    await there(tmp_path / "here")
    assert lives(server)
    assert lives(child)
    worker.kill()
    await worker.wait()
    await dead(server)
    await dead(child)


async def test_a_fork_that_a_job_makes_does_not_answer_for_it(bench: Bench) -> None:
    bench.pool(size=1)
    child = await bench.value("pid")
    assert await bench.value("come_back_twice") == child
    assert await bench.value("pid") == child


# --- limits ---------------------------------------------------------------------------------------


async def test_the_hard_limit_takes_the_programs_of_the_job_along(
    bench: Bench, tmp_path: Path
) -> None:
    bench.pool(size=1)
    failure = await bench.failure("hang_with_a_helper", str(tmp_path / "pid"))
    assert failure.kind == "timeout"
    await dead(int((tmp_path / "pid").read_text()))


async def test_a_cancelled_job_is_ended_by_force(bench: Bench, tmp_path: Path) -> None:
    bench.pool(size=1)
    child = await bench.value("pid")
    task = asyncio.create_task(bench.run("meet", str(tmp_path), "here", "never"))
    await there(tmp_path / "here")
    task.cancel()
    await task
    await dead(child)
    assert await bench.value("pid") != child


# --- signals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_children_leave_the_end_to_their_worker(
    bench: Bench, tmp_path: Path, number: int
) -> None:
    """A terminal or a service manager signals all processes; jobs in work are finished first."""
    bench.pool(size=1)
    child, server = await bench.value("pid"), await bench.value("parent")
    task = asyncio.create_task(bench.value("meet", str(tmp_path), "here", "go"))
    await there(tmp_path / "here")
    os.kill(child, number)
    os.kill(server, number)
    (tmp_path / "go").touch()
    assert await task == "here"
    assert await bench.value("pid") == child
    assert await bench.value("parent") == server


async def test_what_a_job_starts_hears_its_signals(bench: Bench) -> None:
    bench.pool(size=1)
    assert await bench.value("ends_by_sigterm") == -signal.SIGTERM


async def test_what_a_job_prints_is_the_workers_output(
    bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    bench.pool(size=1)
    await bench.value("say", "a word")
    assert "a word\n" in capfd.readouterr().out
