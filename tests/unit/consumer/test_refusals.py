"""What the intake remembers of messages that the store refused stays bounded."""

from __future__ import annotations

from rabbitjobs.consumer.refusals import Refusals


def test_each_message_is_counted_by_itself_until_it_is_forgotten() -> None:
    """One that was taken in the end leaves nothing behind."""
    refusals = Refusals()
    assert [refusals.add("a"), refusals.add("b"), refusals.add("a")] == [1, 1, 2]
    refusals.forget("a")
    refusals.forget("never seen")
    assert refusals.add("a") == 1
    refusals.forget("a")
    refusals.forget("b")
    assert len(refusals) == 0


def test_the_one_refused_longest_ago_goes_when_there_are_too_many() -> None:
    """One that keeps coming back is never pushed out by those that do not."""
    refusals = Refusals(kept=3)
    for number in range(100):
        refusals.add(f"once-{number}")
        assert refusals.add("again and again") == number + 1
    assert len(refusals) == 3
