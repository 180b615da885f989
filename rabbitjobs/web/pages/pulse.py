"""Whether anything changed on the desk, for all pages that are open."""

from __future__ import annotations

import threading

from rabbitjobs import clock
from rabbitjobs.review.desk import Desk

LOOK_SECONDS = 1.0


class Pulse:
    """The mark of the desk, looked at once a second however many pages are open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mark = ""
        self._read_at = 0.0

    def of(self, desk: Desk) -> str:
        """The mark; raises ``StoreUnavailable``."""
        with self._lock:
            if abs(clock.now() - self._read_at) >= LOOK_SECONDS * 0.9:
                self._mark = desk.pulse()
                self._read_at = clock.now()
            return self._mark
