"""How often a channel speaks: a few failures one by one, many together. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """At most ``messages`` in any span of ``per``; what is more waits for a digest.

    A digest goes out ``digest`` after the oldest failure that waits, or as soon as ``hold`` of
    them wait, if the rate allows it; otherwise as soon as it does.
    """

    messages: int = 10
    per: timedelta = timedelta(minutes=10)
    digest: timedelta = timedelta(minutes=1)
    hold: int = 2000

    @property
    def singles(self) -> int:
        """How many of ``messages`` may tell of one failure alone: half, the rest is for digests."""
        return max(1, self.messages // 2)


@dataclass(frozen=True, slots=True)
class Step:
    """What a channel does next. ``until`` (the clock's seconds) is set for ``wait`` only."""

    do: Literal["one", "digest", "wait"]
    until: float = 0.0


def next_step(rate: Rate, sent: Sequence[float], waiting: int, oldest: float, now: float) -> Step:
    """Decide what a channel with ``waiting`` failures does now.

    ``sent`` are the times of the messages sent so far, rising; ``oldest`` is the arrival of the
    failure that waits longest. All times are seconds of one clock.
    """
    recent = recent_of(rate, sent, now)
    if waiting <= rate.singles - len(recent):
        return Step("one")
    if len(recent) >= rate.messages:
        return Step("wait", recent[len(recent) - rate.messages] + rate.per.total_seconds())
    due = oldest + rate.digest.total_seconds()
    if now >= due or waiting >= rate.hold * 9 // 10:
        return Step("digest")
    return Step("wait", due)


def recent_of(rate: Rate, sent: Sequence[float], now: float) -> list[float]:
    """The times among ``sent`` that still count against the rate."""
    return [time for time in sent if time + rate.per.total_seconds() > now]
