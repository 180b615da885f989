"""The signal of the soft limit reaches the job that it is for, and nothing else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from rabbitjobs.consumer.pools.frames import Mark
from rabbitjobs.consumer.pools.limited import Limited
from rabbitjobs.errors import SoftTimeLimit


@pytest.fixture
def mark() -> Iterator[Mark]:
    mark = Mark()
    yield mark
    mark.close()


@pytest.fixture
def limited(mark: Mark) -> Limited:
    limited = Limited(mark)
    limited.begin(2)
    return limited


def test_it_is_raised_while_the_job_runs_and_only_once(limited: Limited, mark: Mark) -> None:
    limited.enter()
    mark.limited = 2
    with pytest.raises(SoftTimeLimit):
        limited.on_signal(0, None)
    limited.on_signal(0, None)


def test_a_signal_for_the_job_before_is_too_late(limited: Limited, mark: Mark) -> None:
    limited.enter()
    mark.limited = 1
    limited.on_signal(0, None)


def test_a_limit_that_is_over_before_the_job_begins_is_raised_then(
    limited: Limited, mark: Mark
) -> None:
    """While its arguments are converted, say."""
    mark.limited = 2
    limited.on_signal(0, None)
    with pytest.raises(SoftTimeLimit):
        limited.enter()


def test_after_the_job_nothing_is_raised(limited: Limited, mark: Mark) -> None:
    limited.enter()
    limited.leave()
    mark.limited = 2
    limited.on_signal(0, None)


def test_what_is_being_sent_is_not_torn_in_two(limited: Limited, mark: Mark) -> None:
    limited.enter()
    assert limited.shield()
    mark.limited = 2
    limited.on_signal(0, None)
    with pytest.raises(SoftTimeLimit):
        limited.unshield()


def test_a_thread_of_the_job_needs_no_shield(limited: Limited) -> None:
    """Signals are the main thread's."""
    shielded: list[bool] = []
    thread = threading.Thread(target=lambda: shielded.append(limited.shield()))
    thread.start()
    thread.join()
    assert shielded == [False]


async def test_a_coroutine_that_cancels_itself_has_not_met_its_limit(limited: Limited) -> None:
    async def job() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await limited.follow(job())


def test_a_lost_lease_is_seen_by_the_job_that_held_it_only() -> None:
    """The worker writes the job's number into memory that both share."""
    mark = Mark()
    limited = Limited(mark)
    limited.begin(1)
    first = limited.lease_lost()
    assert not first
    mark.lost = 1
    assert first
    limited.begin(2)
    assert not limited.lease_lost()
    assert first
    mark.close()
