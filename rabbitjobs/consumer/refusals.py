"""How often one message was refused, by the store or by a fault of ours: a bounded memory."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

# Far above what one process holds unacked at a time: a message that comes back is still known.
KEPT: Final = 10_000


class Refusals:
    """Counts refusals by message; past ``kept`` messages the one refused longest ago is forgotten.

    A forgotten message is counted from the start if it comes back: its end is only put off.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._counts: dict[Hashable, int] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, message: Hashable) -> int:
        """One more refusal of ``message``; returns how many there have been."""
        count = self._counts.pop(message, 0) + 1  # popped: the end of the dict is the newest
        self._counts[message] = count
        if len(self._counts) > self._kept:
            del self._counts[next(iter(self._counts))]
        return count

    def forget(self, message: Hashable) -> None:
        """It was taken at last, or went elsewhere."""
        self._counts.pop(message, None)
