"""What became of the messages that a stopping consumer held."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class Drained(msgspec.Struct, frozen=True):
    """Acked after their work; given back, never started; left to the broker in the middle."""

    finished: int
    handed_back: int
    abandoned: int


def total(several: Iterable[Drained]) -> Drained:
    """The sum of what became of each."""
    parts = list(several)
    return Drained(
        sum(one.finished for one in parts),
        sum(one.handed_back for one in parts),
        sum(one.abandoned for one in parts),
    )
