"""Conformance of pools: what a job sees, how many run, and how they are stopped."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rabbitjobs.testing.pools.jobs import SOFT
from rabbitjobs.testing.pools.kit import Bench, PoolFixtures, there

# Far less than a job takes that goes on regardless.
SOON = 10.0


class ContextConformance(PoolFixtures):
    """What a job sees of itself."""

    @pytest.mark.parametrize("job", ["tell_context", "tell_context_later"])
    async def test_a_job_sees_its_attempt_and_nothing_of_the_one_before(
        self, bench: Bench, job: str
    ) -> None:
        """By its parameter, by ``current()`` and in what is bound to its log."""
        bench.pool(size=1)
        for attempt, job_id in ((1, "first"), (4, "second")):
            seen = await bench.value(job, id=job_id, attempt=attempt)
            assert seen == {
                "same": True,
                "left": "nothing",
                "bound": {"job": job, "job_id": job_id, "attempt": attempt},
                "id": job_id,
                "attempt": attempt,
                "queue": "q",
            }

    async def test_a_job_sees_that_it_was_cancelled(self, bench: Bench, tmp_path: Path) -> None:
        """Wherever it runs; and that it has seen it is known here."""
        bench.pool()
        running = asyncio.create_task(bench.value("look", str(tmp_path / "begun")))
        await there(tmp_path / "begun")
        bench.contexts[0].cancel()
        assert await running is True
        assert bench.contexts[0].noticed

    async def test_progress_is_seen_before_the_result(self, bench: Bench) -> None:
        """All of it, in order."""
        bench.pool()
        assert await bench.value("report_progress", 3, id="one") == "done"
        said = [{"done": done, "total": 3, "note": "going on"} for done in (1, 2, 3)]
        assert bench.progress == [("one", words) for words in said]

    @pytest.mark.parametrize("job", ["tell_deadline", "tell_deadline_later"])
    async def test_a_job_knows_when_its_limits_are_over(self, bench: Bench, job: str) -> None:
        """At the soft limit, counted from its begin."""
        bench.pool()
        left = await bench.value(job)
        assert SOFT.total_seconds() / 2 < left <= SOFT.total_seconds()


class SharingConformance(PoolFixtures):
    """How many jobs run at a time."""

    @pytest.mark.parametrize("job", ["meet", "meet_later"])
    async def test_as_many_jobs_run_as_there_is_room_for(
        self, bench: Bench, tmp_path: Path, job: str
    ) -> None:
        """Each returns when it sees the next one."""
        bench.pool(size=2)
        names = [str(number) for number in range(self.room)]
        following = [*names[1:], names[0]]
        found = await asyncio.gather(
            *(
                bench.value(job, str(tmp_path), me, other)
                for me, other in zip(names, following, strict=True)
            )
        )
        assert found == names

    async def test_what_finds_no_room_waits_its_turn(self, bench: Bench, tmp_path: Path) -> None:
        """In the order of the calls."""
        bench.pool(size=1)
        path, folder = tmp_path / "order", str(tmp_path)
        async with asyncio.TaskGroup() as group:
            group.create_task(bench.run("meet", folder, "here", "go"))
            await there(tmp_path / "here")
            for text in "abc":
                group.create_task(bench.run("note", str(path), text))
            await asyncio.sleep(0)
            assert not path.exists()
            (tmp_path / "go").touch()
        assert path.read_text() == "a\nb\nc\n"


class StopConformance(PoolFixtures):
    """Cancelling and shutdown."""

    async def test_a_call_that_is_cancelled_while_it_waits_never_runs(
        self, bench: Bench, tmp_path: Path
    ) -> None:
        """It ends as cancelled, and nobody else does."""
        bench.pool(size=1)
        first = asyncio.create_task(bench.run("meet", str(tmp_path), "here", "go"))
        await there(tmp_path / "here")
        second = asyncio.create_task(bench.run("note", str(tmp_path / "ran"), "ran"))
        await asyncio.sleep(0.05)
        second.cancel()
        _, failure = await second
        assert failure is not None and failure.error_type == "asyncio.exceptions.CancelledError"
        (tmp_path / "go").touch()
        assert (await first)[1] is None
        assert await bench.value("give_back", 1) == 1
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize("job", ["meet", "meet_later"])
    async def test_a_job_that_is_cancelled_has_failed_with_that(
        self, bench: Bench, tmp_path: Path, job: str
    ) -> None:
        """And the pool goes on."""
        bench.pool(size=2)
        task = asyncio.create_task(bench.run(job, str(tmp_path), "here", "never"))
        await there(tmp_path / "here")
        task.cancel()
        result, failure = await task
        assert result is None
        assert failure is not None and failure.error_type == "asyncio.exceptions.CancelledError"
        (tmp_path / "never").touch()
        assert await bench.value("give_back", 1) == 1

    async def test_after_stop_nothing_has_ended(self, bench: Bench, tmp_path: Path) -> None:
        """What ran, what waited and what comes is abandoned: its message is not acked."""
        pool = bench.pool(size=1)
        running = asyncio.create_task(bench.run("meet", str(tmp_path), "here", "go"))
        await there(tmp_path / "here")
        waiting = asyncio.create_task(bench.run("note", str(tmp_path / "ran"), "ran"))
        await asyncio.sleep(0.05)
        pool.stop()
        running.cancel()  # as the consumer does with what it abandons
        waiting.cancel()
        found = await asyncio.gather(running, waiting, return_exceptions=True)
        assert [type(one) for one in found] == [asyncio.CancelledError] * 2
        with pytest.raises(asyncio.CancelledError):
            await bench.run("give_back", 1)
        (tmp_path / "go").touch()
        await pool.ended()
        assert not (tmp_path / "ran").exists()

    async def test_stop_before_the_first_job_and_twice(self, bench: Bench) -> None:
        """Ends all the same."""
        pool = bench.pool()
        pool.stop()
        pool.stop()
        await pool.ended()


class LimitConformance(PoolFixtures):
    """Time limits."""

    @pytest.mark.parametrize("job", ["clean_up", "clean_up_later"])
    async def test_the_soft_limit_is_raised_in_the_job(
        self, bench: Bench, tmp_path: Path, job: str
    ) -> None:
        """It can clean up, and has failed with it."""
        bench.pool(size=1)
        failure = await bench.failure(job, str(tmp_path / "clean"))
        assert (failure.kind, failure.error_type) == ("error", "rabbitjobs.errors.SoftTimeLimit")
        assert "TimeoutError" in failure.classes
        assert (tmp_path / "clean").exists()
        assert await bench.value("give_back", 1) == 1

    async def test_a_job_may_make_a_success_of_its_soft_limit(self, bench: Bench) -> None:
        """What it returns is its result."""
        bench.pool(size=1)
        assert await bench.value("end_well") == "cut short"

    async def test_a_limit_that_is_kept_hits_nobody(self, bench: Bench, tmp_path: Path) -> None:
        """Neither the job nor the one after it."""
        bench.pool(size=1)
        assert await bench.value("just_in_time") == "in time"
        long = asyncio.create_task(bench.run("meet", str(tmp_path), "here", "go"))
        await asyncio.sleep(0.5)  # longer than the limit of the first one
        (tmp_path / "go").touch()
        assert (await long)[1] is None

    @pytest.mark.parametrize("job", ["go_on_regardless", "go_on_regardless_later"])
    async def test_the_hard_limit_ends_the_attempt(self, bench: Bench, job: str) -> None:
        """Whatever the job does; and its place is free again."""
        bench.pool(size=1)
        failure = await bench.failure(job)
        assert (failure.kind, failure.error_type) == ("timeout", "rabbitjobs.errors.HardTimeLimit")
        assert "hard limit of 0.6 s" in failure.error
        async with asyncio.timeout(SOON):
            assert await bench.value("give_back", 1) == 1
