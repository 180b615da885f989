"""Slots that follow the backlog: looks now and then, and resizes the consumer."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from rabbitjobs import events
from rabbitjobs.clock import now
from rabbitjobs.consumer.scaling import Load, Scaling

LOOK_SECONDS: Final = 2.0
# The newest job's part in what a job takes.
_NEWEST: Final = 0.2


class Scaled(Protocol):
    """What is scaled; see ``QueueConsumer``."""

    queue: str
    slots: int

    @property
    def busy(self) -> int:
        """How many slots run a job."""
        ...

    @property
    def waiting(self) -> int:
        """How many messages wait here for a slot."""
        ...

    async def backlog(self) -> tuple[int, int]:
        """How many messages are ready, for how many consumers."""
        ...

    def resize(self, slots: int) -> None:
        """Run so many jobs at a time from now on."""
        ...


class Autoscale:
    """Sets the slots of one consumer, on its loop, between ``least`` and ``most``."""

    def __init__(self, least: int, most: int, *, bus: events.Bus) -> None:
        self._scaling = Scaling(least, most)
        self._bus = bus
        self._job_seconds = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self, scaled: Scaled) -> None:
        """Begin to look."""
        self._task = asyncio.get_running_loop().create_task(self._look_for_ever(scaled))

    def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()

    def took(self, seconds: float) -> None:
        """A job has ended after so many seconds."""
        known = self._job_seconds
        seconds = max(seconds, 1e-6)
        self._job_seconds = seconds if known == 0.0 else known + _NEWEST * (seconds - known)

    async def _look_for_ever(self, scaled: Scaled) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look(scaled)

    async def look(self, scaled: Scaled) -> None:
        """One look."""
        ready, consumers = await scaled.backlog()
        load = Load(
            ready=ready,
            consumers=consumers,
            busy=scaled.busy,
            waiting=scaled.waiting,
            job_seconds=self._job_seconds,
        )
        before = scaled.slots
        slots = self._scaling.slots(before, load)
        if slots == before:
            return
        scaled.resize(slots)
        self._bus.emit(
            events.SlotsChanged(
                at=now(),
                queue=scaled.queue,
                slots=slots,
                before=before,
                ready=ready,
                consumers=consumers,
                job_seconds=self._job_seconds,
            )
        )
