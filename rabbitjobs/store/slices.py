"""How a rate is shared: a line of starts, evenly spaced, of which each process takes slices.

Pure, and the same for a line in the store and for one in a process's own memory. It is the generic
cell rate algorithm (ITU-T I.371): the line knows when its next start is free, and nothing else.
"""

from __future__ import annotations

from typing import Final

import msgspec

# What nobody took of the last second may still be taken: who asks late must not cost throughput.
CATCH_UP_SECONDS: Final = 1.0
# A slice begins at most so far ahead: who cannot have one asks again then.
AHEAD_SECONDS: Final = 1.0
# And holds at most so many seconds of the whole rate.
SLICE_SECONDS: Final = 0.5
# Jobs that are put off get a place in a line of the same spacing, at most so far away.
LONGEST_SECONDS: Final = 600.0


class Line(msgspec.Struct, frozen=True):
    """When the next start is free, and the next place for a job that is put off: unix seconds."""

    next: float
    tail: float


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What a process wants of the line ``key``: ``want`` starts, and ``places`` for jobs put off.

    ``spacing`` is in seconds.
    """

    key: str
    spacing: float
    want: int
    places: int = 0


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """What it got: ``count`` starts, the first in ``starts_in`` seconds (below 0: it was free).

    With a count of 0 it is not worth asking again for ``starts_in`` seconds. Jobs that are put off
    have their places from ``places_in`` seconds on.
    """

    count: int
    spacing: float
    starts_in: float
    places_in: float


def share(line: Line | None, ask: Ask, now: float) -> tuple[Line, Slice]:
    """Take a slice; ``line`` is ``None`` for one that nobody has used yet."""
    spacing = ask.spacing
    # Beyond this it was left by a slower rate, or by a clock that was ahead.
    latest = now + AHEAD_SECONDS + max(SLICE_SECONDS, spacing)
    start = now if line is None else min(max(line.next, now - CATCH_UP_SECONDS), latest)
    count = 0
    if start <= now + AHEAD_SECONDS:
        count = min(ask.want, max(1, int(SLICE_SECONDS / spacing)))
    following = start + count * spacing
    tail = max(line.tail if line is not None else 0.0, following, now + AHEAD_SECONDS)
    tail = min(tail, now + LONGEST_SECONDS)
    starts_in = start - now if count else start - now - AHEAD_SECONDS
    taken = Slice(count=count, spacing=spacing, starts_in=starts_in, places_in=tail - now)
    return Line(following, tail + ask.places * spacing), taken
