"""What every pool does: a pool is where the function of a job runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

import msgspec

from rabbitjobs.consumer.context import Context
from rabbitjobs.job.definition import Definition
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.policy.decision import Failure

Ended = tuple[bytes | None, Failure | None]
"""What came of one attempt: the encoded result, or the failure."""


class Program(msgspec.Struct, frozen=True):
    """How a process of its own comes by the jobs: it calls ``target`` and gets their registry.

    ``target`` is ``module:function``, ``arguments`` are plain values. It is what the worker itself
    was started with, never what a message says.
    """

    target: str
    arguments: Mapping[str, str | int | tuple[str, ...] | None] = {}


class PoolOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a pool is made from.

    ``size`` jobs run at a time. ``program`` is how other processes come by the jobs; without one
    there are none. A child that has run ``max_jobs_per_child`` jobs, or that holds
    more than ``max_memory_per_child`` bytes of memory (resident) after a job, is replaced.
    ``note_progress`` takes (job id, encoded progress) on the loop. ``report`` is told why the pool
    cannot run jobs for now, and "" when it can again. ``worn_out`` is told of a job that cannot be
    ended and was given up: the process holds what it holds until it ends itself.
    """

    size: int
    program: Program | None = None
    max_jobs_per_child: int | None = None
    max_memory_per_child: int | None = None
    note_progress: Callable[[str, bytes], None] = lambda _job_id, _progress: None
    report: Callable[[str], None] = lambda _reason: None
    worn_out: Callable[[str], None] = lambda _reason: None


class Pool(Protocol):
    """Runs jobs for one event loop; every method is called on that loop."""

    def start(self) -> None:
        """Get ready; returns at once."""
        ...

    async def run(self, definition: Definition, envelope: Envelope, context: Context) -> Ended:
        """Run one attempt; whatever the job does is in what is returned.

        More calls than the pool has room for wait their turn. Raises ``CancelledError`` only after
        ``stop``: the job has not ended. Cancelled before that, the attempt ends as cancelled, by
        force where the pool can.
        """
        ...

    def stop(self) -> None:
        """Start nothing more; returns at once. What runs is abandoned, children are ended."""
        ...

    async def ended(self) -> None:
        """Return when nothing is left of the pool but what cannot be ended (a thread)."""
        ...


@runtime_checkable
class TellsStacks(Protocol):
    """What a pool can be besides, whose jobs run elsewhere: it knows where they are."""

    async def stack(self, job_id: str, attempt: int) -> str | None:
        """Where a running job is in its code; ``None`` if that cannot be told in a second or so."""
        ...
