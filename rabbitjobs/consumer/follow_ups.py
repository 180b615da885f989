"""The ids of what a job sends: a rerun of the same attempt makes the same ones."""

from __future__ import annotations

import heapq
import threading
from hashlib import sha256
from itertools import count
from typing import NamedTuple

from rabbitjobs.clock import derived_id
from rabbitjobs.job.call import Call


class FollowUp(NamedTuple):
    """One follow-up: its id, what it is, and the how-manieth of its kind."""

    id: str
    kind: str
    number: int


class FollowUps:
    """Those of one attempt, by what is sent and not by its order; for any thread.

    What differs in job, queue or arguments has another id: two jobs with one id would be one job,
    and the other lost. Equal ones are counted.
    """

    def __init__(self, job_id: str, attempt: int) -> None:
        self._job_id = job_id
        self._attempt = attempt
        self._next: dict[str, count[int]] = {}
        self._free: dict[str, list[int]] = {}
        self._lock = threading.Lock()

    def take(self, call: Call) -> FollowUp:
        """The next one of its kind."""
        queue = call.options.queue or call.definition.queue
        said = f"{call.definition.name}:{queue}:".encode() + call.body
        kind = f"call:{sha256(said).hexdigest()}"
        with self._lock:
            free = self._free.get(kind)
            number = heapq.heappop(free) if free else next(self._next.setdefault(kind, count()))
        return FollowUp(derived_id(self._job_id, self._attempt, f"{kind}:{number}"), kind, number)

    def put_back(self, one: FollowUp) -> None:
        """It was not sent, or nobody knows: whoever sends it again sends it under the same id."""
        with self._lock:
            heapq.heappush(self._free.setdefault(one.kind, []), one.number)
