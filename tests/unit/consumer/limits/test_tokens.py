"""The starts that a process has in hand, and how long jobs stay away: all with a clock of ours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rabbitjobs.consumer.limits.tokens import LAPSE_SECONDS, Tokens
from rabbitjobs.consumer.limits.waiting import away
from rabbitjobs.store.slices import LONGEST_SECONDS, Slice


def granted(count: int, spacing: float, starts_in: float) -> Slice:
    """A slice."""
    return Slice(count=count, spacing=spacing, starts_in=starts_in, places_in=0.0)


def test_each_start_is_good_from_its_moment_on() -> None:
    """Not before, so that the fleet keeps the rate from moment to moment."""
    tokens = Tokens()
    tokens.add(granted(3, 0.1, 0.5), 100.0)
    assert (tokens.left(100.0), tokens.ready(100.4)) == (3, False)
    assert tokens.next_in(100.0) == pytest.approx(0.5)
    assert tokens.lasts(100.0) == pytest.approx(0.7)
    assert tokens.ready(100.5)
    tokens.take()
    assert not tokens.ready(100.5)
    assert tokens.ready(100.61)


def test_what_nobody_used_lapses() -> None:
    """A second later; it would be a burst."""
    tokens = Tokens()
    tokens.add(granted(10, 0.1, 0.0), 100.0)
    assert tokens.left(100.9 + LAPSE_SECONDS + 0.01) == 0
    assert tokens.next_in(200.0) is None
    assert tokens.lasts(200.0) == 0.0


def test_what_was_free_before_is_good_at_once() -> None:
    """And for as long as any other."""
    tokens = Tokens()
    tokens.add(granted(5, 0.1, -1.0), 100.0)
    assert tokens.ready(100.0)
    assert tokens.left(100.0 + LAPSE_SECONDS) == 5


@given(st.lists(st.tuples(st.floats(0, 2), st.booleans()), max_size=80))
def test_never_more_than_were_granted(steps: list[tuple[float, bool]]) -> None:
    """However they are used: ten a second are granted for ten seconds."""
    tokens, now, taken = Tokens(), 0.0, 0
    tokens.add(granted(100, 0.1, 0.0), now)
    for pause, all_of_them in steps:
        now += pause
        while tokens.ready(now):
            tokens.take()
            taken += 1
            assert taken <= min(now / 0.1 + 1 + 1e-6, 100)
            if not all_of_them:
                break


@given(st.integers(0, 10_000), st.none() | st.floats(0, 1e4), st.floats(0, 1))
def test_a_job_stays_away_for_a_second_at_least_and_not_for_ever(
    waits: int, place: float | None, chance: float
) -> None:
    """The ladder knows whole seconds, and nobody starves."""
    seconds = away(waits, place, lambda: chance)
    assert 1.0 <= seconds <= LONGEST_SECONDS * 1.05
    if place is None:
        assert seconds <= 15.0


def test_jobs_in_the_line_come_back_as_far_apart_as_they_stand() -> None:
    """The jitter is small beside the place."""
    assert away(0, 100.0, lambda: 0.0) == 100.0
    assert away(3, 100.0, lambda: 1.0) == 105.0
    assert away(0, LONGEST_SECONDS, lambda: 0.0) == LONGEST_SECONDS / 2


def test_without_a_line_each_time_is_longer() -> None:
    """Up to fifteen seconds."""
    assert [away(n, None, lambda: 1.0) for n in range(5)] == [2.0, 4.0, 8.0, 15.0, 15.0]
