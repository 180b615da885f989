"""The counts beside the list: counted once for all pages that are open, until the desk changes."""

from __future__ import annotations

import threading

from rabbitjobs import clock
from rabbitjobs.review.case import Stats
from rabbitjobs.review.desk import Desk
from rabbitjobs.review.options import Person

# Ages grow also when nothing changes.
KEPT_SECONDS = 30.0
KEPT_MOST = 100
_Key = tuple[str, tuple[str, ...], tuple[str, ...]]


class Counts:
    """Counts by what a person may see, until the desk changes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[_Key, tuple[str, float, Stats]] = {}

    def of(self, desk: Desk, person: Person) -> Stats:
        """The counts of now; raises what ``Desk.stats`` does."""
        key = (person.role, person.queues, person.jobs)
        # First the mark: what changes while it is counted is counted once more.
        mark, at = desk.pulse(), clock.now()
        with self._lock:
            kept = self._kept.get(key)
        if kept is not None and kept[0] == mark and abs(at - kept[1]) < KEPT_SECONDS:
            return kept[2]
        stats = desk.stats(who=person.name)
        with self._lock:
            if len(self._kept) >= KEPT_MOST:
                self._kept.clear()
            self._kept[key] = mark, at, stats
        return stats
