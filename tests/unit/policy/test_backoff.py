"""Backoffs are computed once, into the list of pauses."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from rabbitjobs.policy.backoff import exponential, fixed


def _seconds(*numbers: float) -> tuple[timedelta, ...]:
    return tuple(timedelta(seconds=number) for number in numbers)


def test_exponential_doubles_up_to_its_cap() -> None:
    """The example of the design: five attempts from 5 s."""
    cap = timedelta(minutes=10)
    assert exponential(5, timedelta(seconds=5), cap=cap) == _seconds(5, 10, 20, 40)
    short = timedelta(seconds=15)
    assert exponential(5, timedelta(seconds=5), cap=short) == _seconds(5, 10, 15, 15)
    assert exponential(3, timedelta(seconds=1), cap=cap, factor=1.5) == _seconds(1, 1.5)


def test_fixed_repeats_and_one_attempt_has_no_pause() -> None:
    """Attempts count the first try too."""
    assert fixed(3, timedelta(seconds=30)) == _seconds(30, 30)
    assert fixed(1, timedelta(seconds=30)) == ()
    assert exponential(1, timedelta(seconds=30), cap=timedelta(hours=1)) == ()


@given(
    attempts=st.integers(1, 100),
    first=st.timedeltas(timedelta(milliseconds=1), timedelta(days=1)),
    factor=st.floats(1, 100),
)
def test_pauses_grow_stay_below_the_cap_and_are_whole_milliseconds(
    attempts: int, first: timedelta, factor: float
) -> None:
    """Whatever the numbers, no overflow and no surprise."""
    cap = timedelta(days=30)
    pauses = exponential(attempts, first, cap=cap, factor=factor)
    assert len(pauses) == attempts - 1
    assert list(pauses) == sorted(pauses)
    assert all(pause <= cap and not pause % timedelta(milliseconds=1) for pause in pauses)
