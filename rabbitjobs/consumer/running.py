"""One attempt that a consumer runs, and the message that it came by."""

from __future__ import annotations

import asyncio

from rabbitjobs.clock import now
from rabbitjobs.consumer.limits.parked import Admission
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.wire.subscription import Handed


class Running:
    """One attempt that runs here; ``handed`` changes when the broker delivers it anew.

    ``life`` counts how often everything that was out has been lost.
    """

    __slots__ = ("admission", "envelope", "handed", "key", "life", "since", "task")

    def __init__(
        self,
        envelope: Envelope | None,
        handed: Handed,
        life: int,
        admission: Admission | None = None,
    ) -> None:
        self.admission = admission
        self.life = life
        self.envelope = envelope
        self.key = (envelope.id, envelope.attempt) if envelope is not None else None
        self.since = now()
        self.handed = handed
        self.task: asyncio.Task[None] | None = None


def shake_off_cancel() -> None:
    """Undo what has cancelled this task: what it still has to do must not be torn."""
    task = asyncio.current_task()
    while task is not None and task.uncancel():
        pass


async def first_of(one: asyncio.Event, other: asyncio.Event, seconds: float) -> None:
    """Wait until one of the two is set, or so many seconds."""
    waits = [asyncio.ensure_future(event.wait()) for event in (one, other)]
    await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
