"""Bulk actions that run on, when the request that began them is answered."""

from __future__ import annotations

import logging
import threading

from rabbitjobs.errors import ActionRefused, RabbitJobsError
from rabbitjobs.review.bulk_case import Bulk
from rabbitjobs.review.desk import Desk

log = logging.getLogger("rabbitjobs.web")
MOST_AT_ONCE = 8


class Runner:
    """Runs bulk actions on threads of this process.

    A process that ends leaves them as they are: each case is done or not begun, and whoever runs
    it again, anywhere, goes on behind it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[str] = set()

    def start(self, desk: Desk, bulk_id: str, *, who: str) -> Bulk:
        """Begin, or go on; raises what ``Bulks.run`` raises before it does a case.

        ``ActionRefused`` also if too many run here; nothing happens if this one does already.
        """
        found = desk.bulk.get(bulk_id, who=who)
        with self._lock:
            if found.id in self._running:
                return found
            if len(self._running) >= MOST_AT_ONCE:
                raise ActionRefused(
                    f"expected up to {MOST_AT_ONCE} bulk actions at once, got one more; wait for "
                    "one of them, or run it by command"
                )
            self._running.add(found.id)
        try:
            begun = desk.bulk.begin(found.id, who=who)
        except BaseException:
            self._ended(found.id)
            raise
        threading.Thread(
            target=self._run, args=(desk, found.id, who), name=f"bulk {found.id}", daemon=True
        ).start()
        return begun

    def running(self, bulk_id: str) -> bool:
        """Whether it is run by this process now."""
        with self._lock:
            return bulk_id in self._running

    def _run(self, desk: Desk, bulk_id: str, who: str) -> None:
        try:
            desk.bulk.run(bulk_id, who=who)
        except RabbitJobsError as error:
            log.warning("the bulk action %s stands still: %s; run it again", bulk_id, error)
        except Exception:  # the end of a thread: nobody else would hear of it
            log.exception("the bulk action %s stands still; run it again", bulk_id)
        finally:
            self._ended(bulk_id)

    def _ended(self, bulk_id: str) -> None:
        with self._lock:
            self._running.discard(bulk_id)
