"""The line of a rate: whoever asks when, no more starts are given out than the rate allows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rabbitjobs.store.slices import (
    AHEAD_SECONDS,
    CATCH_UP_SECONDS,
    LONGEST_SECONDS,
    SLICE_SECONDS,
    Ask,
    Line,
    share,
)

NOW = 1_700_000_000.0


def ask(spacing: float, want: int, places: int = 0) -> Ask:
    """For the only rate of these tests."""
    return Ask(key="r", spacing=spacing, want=want, places=places)


@given(
    st.floats(0.001, 20.0),
    st.lists(st.tuples(st.floats(0, 3), st.integers(0, 100)), min_size=1, max_size=60),
)
def test_no_more_starts_than_the_rate_allows(
    spacing: float, asked: list[tuple[float, int]]
) -> None:
    """From the first question on: the rate, what may be caught up, and what is given ahead."""
    line: Line | None = None
    now, given_out = NOW, 0
    for pause, want in asked:
        now += pause
        line, taken = share(line, ask(spacing, want), now)
        assert 0 <= taken.count <= want
        assert taken.count <= max(1, SLICE_SECONDS / spacing)
        given_out += taken.count
    ahead = AHEAD_SECONDS + max(SLICE_SECONDS, spacing)
    assert given_out * spacing <= now - NOW + ahead + spacing + 1e-3


@given(st.floats(0.001, 0.1), st.integers(2, 12))
def test_those_who_ask_in_time_use_the_whole_rate(spacing: float, processes: int) -> None:
    """Each asks again when its slice is over, or when it was told to: nothing is left unused."""
    line: Line | None = None
    again = dict.fromkeys(range(processes), NOW)
    given_out = 0
    now = NOW
    while now < NOW + 30:
        process = min(again, key=lambda one: again[one])
        now = max(now, again[process])
        line, taken = share(line, ask(spacing, 1000), now)
        given_out += taken.count
        over = taken.starts_in + taken.count * spacing
        again[process] = now + max(over - 0.25 if taken.count else taken.starts_in, 0.01)
    assert 30 / spacing * 0.98 - 1 <= given_out <= (30 + AHEAD_SECONDS + 1) / spacing + 1


def test_slices_follow_each_other() -> None:
    """The second begins where the first ends."""
    line, first = share(None, ask(0.01, 20), NOW)
    line, second = share(line, ask(0.01, 20), NOW)
    assert [first.starts_in, second.starts_in] == pytest.approx([0.0, 0.2])
    assert (first.count, second.count) == (20, 20)


def test_only_the_last_second_is_caught_up() -> None:
    """A rate is no quota that saves up."""
    line, _ = share(None, ask(0.01, 1), NOW)
    _, taken = share(line, ask(0.01, 1000), NOW + 3600)
    assert taken.starts_in == -CATCH_UP_SECONDS
    assert taken.count == 50


def test_who_comes_too_early_is_told_when() -> None:
    """A slow rate: the next start is in a minute."""
    line, _ = share(None, ask(60.0, 5), NOW)
    line, taken = share(line, ask(60.0, 5), NOW + 1)
    assert (taken.count, taken.starts_in) == (0, 59.0 - AHEAD_SECONDS)
    _, taken = share(line, ask(60.0, 5), NOW + 59)
    assert (taken.count, taken.starts_in) == (1, 1.0)


@pytest.mark.parametrize("left", [NOW + 3600, NOW + 1e9])
def test_what_a_slower_rate_or_a_wrong_clock_left_behind_stops_nobody(left: float) -> None:
    """A deploy from 1/h to 100/s need not wait for an hour."""
    _, taken = share(Line(left, left), ask(0.01, 5), NOW)
    assert taken.count == 0
    assert taken.starts_in <= AHEAD_SECONDS + SLICE_SECONDS


def test_jobs_that_are_put_off_stand_in_a_line_of_their_own() -> None:
    """One behind the other, as far apart as their starts will be."""
    line, first = share(None, ask(0.1, 0, places=10), NOW)
    line, second = share(line, ask(0.1, 0, places=5), NOW)
    assert first.places_in >= 1.0
    assert second.places_in == pytest.approx(first.places_in + 1.0)
    _, later = share(line, ask(0.1, 0, places=1), NOW + 100)
    assert later.places_in == pytest.approx(1.0)


def test_the_line_is_not_endless() -> None:
    """Beyond it they come back by chance, see ``waiting.away``."""
    line, _ = share(None, ask(1.0, 0, places=100_000), NOW)
    _, taken = share(line, ask(1.0, 0, places=1), NOW)
    assert taken.places_in == LONGEST_SECONDS
