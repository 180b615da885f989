"""What goes wrong during the demo: each accident once, when the work has got far enough."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Counts = Mapping[str, Counter[str]]


@dataclass(slots=True)
class Accident:
    """Happens once, when ``done`` jobs of ``kind`` have succeeded; lasts ``lasts`` seconds."""

    kind: str
    done: int
    happen: Callable[[], None]
    lasts: float = 0.0
    repair: Callable[[], None] | None = None
    _since: float | None = field(default=None, init=False)

    def watch(self, counts: Counts, now: float) -> bool:
        """Let it happen or pass if its time has come; returns whether it is over."""
        if self._since is None:
            if counts[self.kind]["succeeded"] < self.done:
                return False
            self.happen()
            self._since = now
        if now - self._since < self.lasts:
            return False
        if self.repair is not None:
            self.repair()
        return True


class Accidents:
    """The accidents that are still to come or to pass."""

    def __init__(self, *accidents: Accident) -> None:
        self._left = list(accidents)

    def watch(self, counts: Counts) -> bool:
        """Look at the work; returns whether all accidents have happened and passed."""
        now = time.monotonic()
        self._left = [one for one in self._left if not one.watch(counts, now)]
        return not self._left
