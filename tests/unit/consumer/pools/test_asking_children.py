"""What the worker says to a job in a child, and asks of it: its cancellation, its stack."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rabbitjobs.consumer.pools import processes
from rabbitjobs.consumer.pools.frames import Mark
from rabbitjobs.consumer.pools.limited import Limited
from rabbitjobs.consumer.pools.processes import ProcessPool
from rabbitjobs.consumer.pools.protocol import TellsStacks
from rabbitjobs.testing.pools.kit import Bench, there


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench(ProcessPool)
    yield bench
    await bench.end()


async def test_a_child_tells_where_its_job_is(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Functions and coroutines, as often as it is asked; the job goes on."""
    monkeypatch.setattr(processes, "STACK_SECONDS", 20.0)  # a busy machine is no mute child
    pool = bench.pool(size=2)
    assert isinstance(pool, TellsStacks)
    running = [
        asyncio.create_task(bench.value("meet", str(tmp_path), "one", "go")),
        asyncio.create_task(bench.value("meet_later", str(tmp_path), "two", "go")),
    ]
    await asyncio.gather(there(tmp_path / "one"), there(tmp_path / "two"))
    for _ in range(2):
        for context, text in zip(bench.contexts, ("in wait_for", "in meet_later"), strict=True):
            stack = await pool.stack(context.job_id, context.attempt)
            assert stack is not None and text in stack
            assert "/consumer/" not in stack
    (tmp_path / "go").touch()
    assert await asyncio.gather(*running) == ["one", "two"]
    assert await pool.stack(bench.contexts[0].job_id, 1) is None


async def test_a_cancellation_is_for_the_job_that_runs_and_not_for_the_next(
    bench: Bench, tmp_path: Path
) -> None:
    """In the same child; that the job has seen it comes back."""
    bench.pool(size=1)
    first = asyncio.create_task(bench.value("look", str(tmp_path / "one")))
    await there(tmp_path / "one")
    bench.contexts[0].cancel()
    assert await first is True
    assert bench.contexts[0].noticed
    second = asyncio.create_task(bench.value("look", str(tmp_path / "two")))
    await there(tmp_path / "two")
    await asyncio.sleep(0.05)
    assert not second.done() and not bench.contexts[1].noticed
    bench.contexts[1].cancel()
    assert await second is True


async def test_a_job_that_was_cancelled_before_a_child_was_free_never_runs(
    bench: Bench, tmp_path: Path
) -> None:
    """It need not wait for one."""
    bench.pool(size=1)
    first = asyncio.create_task(bench.value("meet", str(tmp_path), "here", "go"))
    await there(tmp_path / "here")
    second = asyncio.create_task(bench.failure("look", str(tmp_path / "two")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    bench.contexts[1].cancel()
    assert (await second).error_type == "asyncio.exceptions.CancelledError"
    (tmp_path / "go").touch()
    assert await first == "here"
    assert not (tmp_path / "two").exists()


def test_what_is_being_sent_is_finished_before_the_stack_is_told() -> None:
    """In its place, not in the middle of it."""
    told: list[tuple[int, str]] = []
    mark = Mark()
    limited = Limited(mark, lambda number, stack: told.append((number, stack)))
    limited.begin(2)
    limited.enter()
    limited.shield()
    mark.asked = 2
    limited.on_signal(0, None)
    assert told == []
    limited.unshield()
    ((number, stack),) = told
    assert number == 2 and "test_what_is_being_sent" in stack
    mark.asked = 1
    limited.on_signal(0, None)  # for the job before
    assert len(told) == 1
    mark.close()


async def test_a_coroutine_that_is_in_its_code_is_told_by_that() -> None:
    """It blocks the loop, or is just asked there: then it is the signal that knows where it is."""
    told: list[str] = []
    mark = Mark()
    limited = Limited(mark, lambda _number, stack: told.append(stack))
    limited.begin(1)
    loop = asyncio.get_running_loop()

    async def job() -> None:
        mark.asked = 1
        limited.on_signal(0, sys._getframe())
        mark.asked = 1
        loop.call_soon(limited.on_signal, 0, None)
        await asyncio.sleep(0)

    await asyncio.create_task(limited.follow(job()))
    mark.close()
    for stack in told:
        assert "in job" in stack and "/consumer/" not in stack.replace(__file__, "")
    assert len(told) == 2
