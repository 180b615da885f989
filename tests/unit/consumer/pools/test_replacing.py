"""Children that are replaced: because they are worn out, or because they do not start."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog

from rabbitjobs.consumer.pools.processes import ProcessPool
from rabbitjobs.consumer.pools.protocol import Program
from rabbitjobs.testing.pools.jobs import JOBS
from rabbitjobs.testing.pools.kit import PATIENCE, Bench, there

PROGRAMS = "tests.unit.consumer.pools.programs"


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench(ProcessPool)
    yield bench
    await bench.end()


async def test_a_child_runs_no_more_jobs_than_allowed(bench: Bench) -> None:
    """And no job is lost on the way."""
    bench.pool(size=2, max_jobs_per_child=3)
    pids = await asyncio.gather(*(bench.value("pid") for _ in range(30)))
    counts = [pids.count(pid) for pid in set(pids)]
    assert max(counts) == 3
    assert sum(counts) == 30
    assert bench.reports == []


async def test_a_child_may_run_one_job_only(bench: Bench) -> None:
    bench.pool(size=1, max_jobs_per_child=1)
    pids = [await bench.value("pid") for _ in range(6)]
    assert len(set(pids)) == 6


async def test_never_more_jobs_run_than_there_is_room_for(bench: Bench, tmp_path: Path) -> None:
    """Not while the next child is ready before the old one has ended, either."""
    bench.pool(size=1, max_jobs_per_child=1)
    task = asyncio.create_task(bench.value("meet", str(tmp_path), "here", "go"))
    await there(tmp_path / "here")
    second = asyncio.create_task(bench.run("note", str(tmp_path / "ran"), "ran"))
    await asyncio.sleep(0.3)
    assert not (tmp_path / "ran").exists()
    (tmp_path / "go").touch()
    assert await task == "here"
    assert (await second)[1] is None


async def test_a_child_that_leaks_is_replaced_after_its_job(bench: Bench) -> None:
    bench.pool(size=1, max_memory_per_child=150 << 20)
    first = await bench.value("pid")
    assert await bench.value("hold_memory", 1) == first
    assert await bench.value("pid") == first
    assert await bench.value("hold_memory", 200) == first
    async with asyncio.timeout(PATIENCE):
        while await bench.value("pid") == first:
            pass


async def test_children_that_are_replaced_run_their_exit_handlers(
    bench: Bench, tmp_path: Path
) -> None:
    """Those that are idle at the stop, too."""
    program = Program(f"{PROGRAMS}:leaving_a_note", {"path": str(tmp_path)})
    pool = bench.pool(size=1, max_jobs_per_child=1, program=program)
    pids = [await bench.value("pid") for _ in range(2)]
    pool.stop()
    await pool.ended()
    for pid in pids:
        await there(tmp_path / str(pid))


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("unimportable_while", "LookupError: no such setting"),
        ("dying_while", "a child process died at its start: it ended with exit code 7"),
    ],
)
async def test_a_pool_whose_children_do_not_start_says_so_and_tries_again(
    bench: Bench, tmp_path: Path, program: str, reason: str
) -> None:
    """Jobs wait meanwhile, and none fails."""
    broken = tmp_path / "broken"
    broken.touch()
    bench.pool(size=2, program=Program(f"{PROGRAMS}:{program}", {"path": str(broken)}))
    job = asyncio.create_task(bench.value("give_back", 1))
    async with asyncio.timeout(PATIENCE):
        while len(bench.reports) < 3:
            bench.news.clear()
            await bench.news.wait()
    assert all(reason in said for said in bench.reports)
    assert not job.done()
    broken.unlink()
    assert await job == 1
    assert bench.reports[-1] == ""


async def test_a_child_that_cannot_be_made_costs_no_other_ones_job(
    bench: Bench, tmp_path: Path
) -> None:
    """A container's limit of processes, say: the others go on, and it is tried again."""
    full = tmp_path / "full"
    bench.pool(size=2, program=Program(f"{PROGRAMS}:without_room_while", {"path": str(full)}))
    other = asyncio.create_task(bench.value("meet", str(tmp_path), "here", "go"))
    await there(tmp_path / "here")
    await bench.value("give_back", 1)
    full.touch()
    assert (await bench.failure("die", 9)).kind == "crash"
    async with asyncio.timeout(PATIENCE):
        await bench.news.wait()
    assert "a child process died at its start" in bench.reports[0]
    (tmp_path / "go").touch()
    assert await other == "here"
    full.unlink()
    assert await asyncio.gather(*(bench.value("give_back", 1) for _ in range(4))) == [1] * 4
    async with asyncio.timeout(PATIENCE):
        while bench.reports[-1]:
            bench.news.clear()
            await bench.news.wait()


@pytest.mark.parametrize(("room", "name"), [(subprocess, "Popen"), (socket, "socketpair")])
async def test_a_worker_that_cannot_make_processes_for_a_while_tries_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, room: Any, name: str
) -> None:
    """Its jobs would wait for ever."""
    bench.pool(size=1)
    server = await bench.value("parent")
    make, refusals = getattr(room, name), iter([True])

    def refuse(*args: Any, **options: Any) -> Any:
        if next(refusals, False):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return make(*args, **options)

    monkeypatch.setattr(room, name, refuse)
    os.kill(server, signal.SIGKILL)
    async with asyncio.timeout(PATIENCE):
        while not any("Too many open files" in said for said in bench.reports):
            bench.news.clear()
            await bench.news.wait()
    assert await bench.value("give_back", 1) == 1
    assert bench.reports[-1] == ""


async def test_a_limit_that_is_over_after_the_stop_finds_nobody(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its child has gone, and its memory with it."""
    soft = timedelta(seconds=2)  # longer than the stop takes on a busy machine
    known = JOBS.get("clean_up")
    assert known is not None
    limited = msgspec.structs.replace(known, soft_limit=soft)
    monkeypatch.setitem(JOBS._jobs, "clean_up", limited)
    reported: list[str] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: reported.append(str(context["exception"]))
    )
    pool = bench.pool(size=1)
    await bench.value("give_back", 1)
    job = asyncio.create_task(bench.run("clean_up", str(tmp_path / "clean")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    begun = asyncio.get_running_loop().time()
    pool.stop()
    await pool.ended()
    assert asyncio.get_running_loop().time() < begun + soft.total_seconds()
    await asyncio.sleep(soft.total_seconds() + 0.2)
    assert reported == []
    with pytest.raises(asyncio.CancelledError):
        await job


async def test_an_app_whose_import_starts_threads_is_not_forked(
    bench: Bench, tmp_path: Path
) -> None:
    """Each child imports it anew; all else is the same."""
    with structlog.testing.capture_logs() as logs:
        bench.pool(size=1, program=Program(f"{PROGRAMS}:with_threads"))
        first = await bench.value("pid")
    assert [line["threads"] for line in logs if "starts threads" in line["event"]] == ["metrics"]
    assert (await bench.failure("die", 11)).error.endswith("killed by signal SIGSEGV")
    assert (
        (await bench.failure("clean_up", str(tmp_path / "clean")))
        .classes[0]
        .endswith("SoftTimeLimit")
    )
    assert (tmp_path / "clean").exists()
    assert (await bench.failure("go_on_regardless")).kind == "timeout"
    assert await bench.value("pid") != first
