"""How long a job that is over its rate, or whose key is taken, stays away. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rabbitjobs.store.slices import LONGEST_SECONDS

# Where there is no line to stand in, each time longer, and this long at most.
_SHORT_SECONDS: Final = 15.0
_SHORTEST_SECONDS: Final = 1.0


def away(waits: int, place: float | None, chance: Callable[[], float]) -> float:
    """The seconds until it comes again.

    ``place`` is where it stands in the line of its rate (``None``: there is no line, or nobody
    knows): those in the line come back as fast as the rate lets them in. ``waits`` counts how often
    it was put off before. ``chance`` gives a number from 0 to 1: those of one moment must not come
    back together.
    """
    if place is not None:
        if place >= LONGEST_SECONDS:
            return LONGEST_SECONDS * (0.5 + 0.5 * chance())
        return max(place, _SHORTEST_SECONDS) * (1 + 0.05 * chance())
    longest = min(2.0 ** (min(waits, 10) + 1), _SHORT_SECONDS)
    return _SHORTEST_SECONDS + chance() * (longest - _SHORTEST_SECONDS)
