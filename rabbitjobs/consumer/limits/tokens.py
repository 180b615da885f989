"""The starts that a process has been granted: each is good from its moment on, for a second."""

from __future__ import annotations

from collections import deque
from typing import Final

from rabbitjobs.store.slices import Slice

# Whoever could not use a start for so long does not catch up: the rate is a rate, not a quota.
LAPSE_SECONDS: Final = 1.0


class Tokens:
    """Starts of one rate. Times are seconds of one clock that the caller reads."""

    def __init__(self) -> None:
        self._due: deque[float] = deque()

    def add(self, taken: Slice, now: float) -> None:
        """Put a slice in, granted at ``now``; what was free before is good from now on."""
        first = now + taken.starts_in
        self._due.extend(max(first + taken.spacing * n, now) for n in range(taken.count))

    def left(self, now: float) -> int:
        """How many there are, those of later moments included."""
        while self._due and self._due[0] + LAPSE_SECONDS < now:
            self._due.popleft()
        return len(self._due)

    def ready(self, now: float) -> bool:
        """Whether a job may start."""
        return self.left(now) > 0 and self._due[0] <= now

    def take(self) -> None:
        """A job starts; only when ``ready``."""
        self._due.popleft()

    def next_in(self, now: float) -> float | None:
        """The seconds until a job may start; ``None`` if there is no start left."""
        return max(self._due[0] - now, 0.0) if self.left(now) else None

    def lasts(self, now: float) -> float:
        """The seconds until the last of them is due; 0 without any."""
        return max(self._due[-1] - now, 0.0) if self.left(now) else 0.0
