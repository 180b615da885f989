"""The rate of a channel: a few one by one, many together, never more than the cap."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from rabbitjobs.notify.rate import Rate, next_step

RATE = Rate(messages=4, per=timedelta(seconds=100), digest=timedelta(seconds=10), hold=100)


def test_a_lone_failure_is_told_at_once() -> None:
    """Nothing waits for a digest while there are few failures."""
    assert next_step(RATE, [], 1, oldest=0, now=0).do == "one"


def test_half_of_the_cap_is_kept_for_digests() -> None:
    """After two single messages of four the third failure waits for the digest window."""
    step = next_step(RATE, [1, 2], 1, oldest=3, now=3)
    assert (step.do, step.until) == ("wait", 13)
    assert next_step(RATE, [1, 2], 1, oldest=3, now=13).do == "digest"


def test_a_crowd_is_told_together_even_while_single_messages_are_left() -> None:
    """Fifty failures are one digest after the window, not two messages and a digest."""
    step = next_step(RATE, [], 50, oldest=0, now=1)
    assert (step.do, step.until) == ("wait", 10)


def test_a_full_house_is_told_without_waiting_for_the_window() -> None:
    """When as many wait as the consumer may hold, nothing else can arrive: the digest goes."""
    assert next_step(RATE, [], 90, oldest=0, now=1).do == "digest"


def test_a_spent_cap_waits_until_the_oldest_message_leaves_the_span() -> None:
    """Four messages in the last hundred seconds: the fifth waits, however many failures wait."""
    step = next_step(RATE, [10, 20, 30, 40], 100, oldest=41, now=60)
    assert (step.do, step.until) == ("wait", 110)


@given(
    gaps=st.lists(st.floats(min_value=0, max_value=40), min_size=1, max_size=200),
    messages=st.integers(min_value=1, max_value=6),
    hold=st.integers(min_value=1, max_value=50),
)
def test_no_span_ever_holds_more_messages_than_the_cap(
    gaps: list[float], messages: int, hold: int
) -> None:
    """Whatever arrives when: every failure leaves, and no span of ``per`` exceeds the cap."""
    rate = Rate(
        messages=messages, per=timedelta(seconds=100), digest=timedelta(seconds=10), hold=hold
    )
    arrivals: list[float] = []
    for gap in gaps:
        arrivals.append((arrivals[-1] if arrivals else 0.0) + gap)
    sent: list[float] = []
    waiting: list[float] = []
    now, told, steps = 0.0, 0, 0
    while arrivals or waiting:
        steps += 1
        assert steps < 10_000
        while arrivals and arrivals[0] <= now and len(waiting) < hold:
            waiting.append(arrivals.pop(0))
        if not waiting:
            now = arrivals[0]
            continue
        step = next_step(rate, sent, len(waiting), waiting[0], now)
        if step.do == "wait":
            assert step.until > now
            held = not arrivals or len(waiting) >= hold
            now = step.until if held else min(step.until, max(now, arrivals[0]))
            continue
        count = 1 if step.do == "one" else len(waiting)
        told += count
        del waiting[:count]
        sent.append(now)
    assert told == len(gaps)
    for place, start in enumerate(sent):
        assert sum(1 for time in sent[place:] if time < start + 100) <= messages
