"""A job that waits at the gate, and with what it is let in."""

from __future__ import annotations

import asyncio

from rabbitjobs.consumer.limits.leases import Hold
from rabbitjobs.consumer.limits.limiter import Limiter
from rabbitjobs.job.definition import Definition
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.policy.decision import Failure
from rabbitjobs.wire.subscription import Handed


class Admission:
    """With what a job leaves the gate for a slot: its lease, or why it has failed already.

    ``freed``: the record of its ending has ended the lease.
    """

    __slots__ = ("failure", "freed", "hold")

    def __init__(self, hold: Hold | None = None, failure: Failure | None = None) -> None:
        self.hold = hold
        self.failure = failure
        self.freed = False


class Parked:
    """One job that waits; the oldest come first. ``keyed``: it needs a key."""

    __slots__ = (
        *("asking", "definition", "envelope", "handed", "key", "keyed", "limits", "order", "since"),
    )

    def __init__(
        self,
        envelope: Envelope,
        handed: Handed,
        definition: Definition | None,
        limits: tuple[Limiter, ...],
        order: tuple[int, float, int],
        since: float,
    ) -> None:
        self.envelope = envelope
        self.handed = handed
        self.definition = definition
        self.limits = limits
        self.order = order
        self.since = since
        self.keyed = definition is not None and definition.concurrency is not None
        self.key: str | None = None
        self.asking: asyncio.Task[None] | None = None

    def __lt__(self, other: Parked) -> bool:
        return self.order < other.order
