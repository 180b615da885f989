"""Many publishes in flight at once, counted instead of awaited one by one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue

from rabbitjobs.wire.protocol import Outcome, Outgoing

# So many leave together, unless they come so slowly that the first would wait for the others.
TOGETHER = 100
LONGEST_SECONDS = 0.001

Request = tuple[Outgoing, float, Callable[[Outcome], None]]


class Flight:
    """The outcomes of many publishes by one thread, of which ``window`` may be out at a time.

    A future, a semaphore and a wake-up of the I/O thread for each of them cost more than the
    publish itself: at each wake-up the two threads fight for the interpreter's lock.
    """

    def __init__(self, window: int, publish: Callable[[Sequence[Request]], None]) -> None:
        self.outcomes: dict[int, Outcome] = {}
        self._window = window
        self._publish = publish
        self._number = 0
        self._skipped = 0
        self._boarding: list[Request] = []
        self._left = 0.0
        # So many outcomes are waited for; who brings the last of them says so.
        self._goal: int | None = None
        self._said: SimpleQueue[None] = SimpleQueue()

    def board(self, message: Outgoing, timeout: float) -> None:
        """Publish the next within ``timeout`` seconds, soon; waits if too many are out."""
        self._boarding.append((message, timeout, partial(self._settle, self._number)))
        self._number += 1
        now = time.monotonic()
        if len(self._boarding) >= TOGETHER or now - self._left > LONGEST_SECONDS:
            self._left = now
            self._leave()
            out = self._number - self._skipped
            if out - len(self.outcomes) + TOGETHER > self._window:
                self._wait(out - self._window // 2)

    def skip(self) -> None:
        """The next is not published: it has no outcome."""
        self._number += 1
        self._skipped += 1

    def land(self) -> None:
        """Wait for every outcome that is still out."""
        self._leave()
        self._wait(self._number - self._skipped)

    def _leave(self) -> None:
        boarding, self._boarding = self._boarding, []
        if boarding:
            self._publish(boarding)

    def _settle(self, number: int, outcome: Outcome) -> None:
        self.outcomes[number] = outcome
        goal = self._goal
        if goal is not None and len(self.outcomes) >= goal:
            self._said.put(None)

    def _wait(self, goal: int) -> None:
        # The goal first: an outcome that comes in between is seen here, or said there.
        self._goal = goal
        while len(self.outcomes) < goal:
            self._said.get()
        self._goal = None
