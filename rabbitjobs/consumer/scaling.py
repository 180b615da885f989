"""How many slots a queue gets, by its backlog and by how long its jobs take. Pure."""

from __future__ import annotations

import math
from typing import Final

import msgspec

# So many slots that the backlog is worked off in this time.
TARGET_SECONDS: Final = 5.0
# More come at once, at most twice as many; fewer only after so many looks that all say so.
CALM_LOOKS: Final = 5
# And only when far fewer will do: else every change of load would change the slots.
CALM_SHARE: Final = 0.6
# Slots that are mostly free are not what the backlog waits for.
BUSY_SHARE: Final = 0.8


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """How it stands with one queue: ``ready`` messages for ``consumers`` processes.

    ``busy`` of this process's slots run a job, and ``waiting`` messages wait here for one. A job
    takes ``job_seconds``; 0 while none has ended yet.
    """

    ready: int
    consumers: int
    busy: int
    waiting: int
    job_seconds: float


class Scaling:
    """Decides on the slots of one process, between ``least`` and ``most``."""

    def __init__(self, least: int, most: int) -> None:
        self.least = least
        self.most = most
        self._calm = 0

    def slots(self, now: int, load: Load) -> int:
        """How many there should be, when there are ``now``; called at each look."""
        wanted = wanted_slots(now, load)
        if wanted > now:
            self._calm = 0
            full = load.busy >= now * BUSY_SHARE
            return min(wanted, now * 2, self.most) if full else max(now, self.least)
        self._calm = self._calm + 1 if wanted <= now * CALM_SHARE else 0
        if self._calm < CALM_LOOKS or now <= self.least:
            return min(max(now, self.least), self.most)
        self._calm = 0
        return max(wanted, now // 2, self.least)


def wanted_slots(now: int, load: Load) -> int:
    """So many that this process's share of the backlog is worked off in time."""
    share = load.waiting + math.ceil(load.ready / max(load.consumers, 1))
    if share == 0:
        return load.busy
    if load.job_seconds <= 0:  # nothing has ended yet: jobs are long, or have only begun
        return min(load.busy + share, now * 2)
    # Never more than there are jobs for.
    return load.busy + min(math.ceil(share * load.job_seconds / TARGET_SECONDS), share)
