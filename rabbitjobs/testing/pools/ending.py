"""Conformance of pools: what a job returns or raises is what comes back."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from rabbitjobs.testing.pools.kit import Bench, PoolFixtures

SIGNALS = ("retry", "ignore", "review")


class ResultConformance(PoolFixtures):
    """Results."""

    @pytest.mark.parametrize("value", [None, 1, 1.5, True, "ä€😀", [1, [2]], {"a": {"b": None}}])
    async def test_a_value_comes_back_as_json(self, bench: Bench, value: Any) -> None:
        """As it is stored."""
        bench.pool()
        result, failure = await bench.run("give_back", value)
        assert failure is None
        assert result is not None and json.loads(result) == value

    async def test_a_coroutine_runs_to_its_end(self, bench: Bench) -> None:
        """In pools for functions, too."""
        bench.pool()
        assert await bench.value("give_back_later", [1, 2]) == [1, 2]

    async def test_a_large_value_goes_both_ways(self, bench: Bench) -> None:
        """Larger than any buffer on the way."""
        bench.pool()
        large = "0123456789" * 300_000
        assert await bench.value("give_back", large) == large

    async def test_a_result_that_nobody_wants_is_not_kept(self, bench: Bench) -> None:
        """``ignore_result``: nothing to store."""
        bench.pool()
        assert await bench.run("forget", 1) == (None, None)

    async def test_arguments_are_converted_and_defaults_hold(self, bench: Bench) -> None:
        """Positional and by name."""
        bench.pool()
        assert await bench.value("add", 2) == 3
        assert await bench.value("add", body=b'{"args": [2], "kwargs": {"b": 5}}') == 7

    async def test_many_jobs_each_get_their_own_result(self, bench: Bench) -> None:
        """More than there is room for, all at once."""
        bench.pool()
        found = await asyncio.gather(*(bench.value("add", number) for number in range(200)))
        assert found == list(range(1, 201))


class FailureConformance(PoolFixtures):
    """Failures."""

    async def test_an_error_comes_back_with_classes_text_and_traceback(self, bench: Bench) -> None:
        """As data: neither the error nor what it holds can be pickled."""
        bench.pool()
        failure = await bench.failure("fail", "odd")
        assert failure.kind == "error"
        assert failure.error == "odd number 3"
        assert failure.classes[0] == "rabbitjobs.testing.pools.jobs.OddError"
        assert "LookupError" in failure.classes
        assert "raise OddError(3, lock=threading.Lock())" in failure.traceback
        assert "/consumer/" not in failure.traceback  # the worker's own frames tell nothing

    async def test_the_error_of_a_coroutine_has_its_traceback(self, bench: Bench) -> None:
        """From the line of the job on."""
        bench.pool()
        failure = await bench.failure("fail_in_a_coroutine")
        assert failure.error == "odd number 5"
        assert "in fail_in_a_coroutine" in failure.traceback

    async def test_the_cause_stands_in_the_traceback(self, bench: Bench) -> None:
        """As Python prints it."""
        bench.pool()
        failure = await bench.failure("fail", "chain")
        assert failure.error_type == "RuntimeError"
        assert "KeyError: 'RABBITJOBS_NO_SUCH_KEY'" in failure.traceback

    async def test_an_error_without_a_text_is_an_error(self, bench: Bench) -> None:
        """Even if showing it fails."""
        bench.pool()
        failure = await bench.failure("fail", "mute")
        assert failure.error == "<no text: ValueError in __str__>"

    @pytest.mark.parametrize(
        ("how", "name"),
        [("exit", "SystemExit"), ("interrupt", "KeyboardInterrupt"), ("stop", "StopIteration")],
    )
    async def test_what_would_end_a_program_ends_the_job_only(
        self, bench: Bench, how: str, name: str
    ) -> None:
        """The pool goes on."""
        bench.pool(size=1)
        failure = await bench.failure("fail", how)
        assert (failure.kind, failure.error_type) == ("error", name)
        assert await bench.value("give_back", 1) == 1

    @pytest.mark.parametrize("signal", SIGNALS)
    async def test_a_signal_of_the_job_stays_one(self, bench: Bench, signal: str) -> None:
        """With its reason."""
        bench.pool()
        failure = await bench.failure("fail", signal)
        assert (failure.kind, failure.signal, failure.error) == ("signal", signal, "as it says")

    async def test_the_delay_of_a_retry_comes_along(self, bench: Bench) -> None:
        """In seconds."""
        bench.pool()
        assert (await bench.failure("fail_later_on")).delay == 90.0

    async def test_a_value_that_json_cannot_hold_is_a_failure(self, bench: Bench) -> None:
        """Of the job, and the same in every pool."""
        bench.pool()
        failure = await bench.failure("return_a_lock")
        assert failure.error_type == "rabbitjobs.errors.ArgumentsRefused"
        assert "the return value cannot be stored" in failure.error

    async def test_arguments_that_do_not_fit_are_told_from_errors(self, bench: Bench) -> None:
        """The job has not run."""
        bench.pool()
        failure = await bench.failure("add", "two")
        assert failure.kind == "arguments"
        assert "a: Expected `int`, got `str`" in failure.error
