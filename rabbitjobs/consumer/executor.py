"""Running one attempt: whatever happens becomes an outcome. Never raises, but for its own stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from rabbitjobs.clock import now
from rabbitjobs.consumer.cancelling import Cancelled, Force
from rabbitjobs.consumer.context import Context, Signal
from rabbitjobs.consumer.failure import plain_failure
from rabbitjobs.consumer.pools.choice import Pools
from rabbitjobs.consumer.pools.local import LocalPool
from rabbitjobs.consumer.pools.protocol import Pool
from rabbitjobs.consumer.pools.solo import SoloPool
from rabbitjobs.ending.settlement import Outcome
from rabbitjobs.job.definition import Definition
from rabbitjobs.job.registry import Registry
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.policy.decision import Failure
from rabbitjobs.store.cancellations import Cancellation

InPool = tuple[Definition, Context, Pool, float]
"""A job that runs: what it is, its context, where it runs, since when (unix seconds)."""


def _nowhere(_job_id: str, _progress: bytes) -> None:
    return


class Executor:
    """Runs jobs of one registry in ``pools``. For use from one event loop.

    ``note_progress`` and ``tell_progress`` are what jobs say how far they are by, the second for
    those whose result is not kept; any thread.
    """

    def __init__(
        self,
        registry: Registry,
        pools: Pools,
        *,
        note_progress: Callable[[str, bytes], None] = _nowhere,
        tell_progress: Callable[[str, bytes], None] = _nowhere,
    ) -> None:
        self._registry = registry
        self._pools = pools
        self._note_progress = note_progress
        self._tell_progress = tell_progress
        self._in_pool: dict[tuple[str, int], InPool] = {}
        self._cancelled: dict[tuple[str, int], Cancelled] = {}

    def running(self) -> tuple[InPool, ...]:
        """The attempts that are in a pool now; from any thread."""
        return tuple(self._in_pool.values())

    def resize(self, slots: int) -> None:
        """Have room for so many jobs at a time, where a pool can have more than it was made for."""
        self._pools.resize(slots)

    def start(self, queue: str) -> None:
        """Get the pools ready for the jobs of a queue."""
        self._pools.start(one for one in self._registry if one.queue == queue and one.function)

    def cancel(
        self, key: tuple[str, int], order: Cancellation, task: asyncio.Task[None] | None
    ) -> None:
        """End the attempt ``key`` if it is in its pool now; ``task`` is what executes it.

        One that has not begun yet, or has ended, is left as it is.
        """
        found = self._in_pool.get(key)
        if found is None or key in self._cancelled:
            return
        definition, context, pool, _since = found
        self._cancelled[key] = Cancelled(order, context, task, _force(pool, definition))

    async def execute(self, envelope: Envelope, *, lease_lost: Signal | None = None) -> Outcome:
        """Run one attempt. Raises ``CancelledError`` only after ``stop``: nothing ended."""
        started = now()
        result: bytes | None = None
        failure: Failure | None = None
        definition = self._registry.get(envelope.job)
        if envelope.expires is not None and envelope.expires <= started:
            failure = plain_failure(
                "expired", f"it was worth running until {_moment(envelope.expires)}"
            )
        elif definition is None or definition.function is None:
            failure = plain_failure("unknown-job", f"no job {envelope.job!r} is registered here")
        else:
            # Where no result is kept there is no row that progress could stand in.
            note = self._tell_progress if definition.ignore_result else self._note_progress
            context = Context(envelope, note, lease_lost)
            pool = self._pools.of(definition)
            key = (envelope.id, envelope.attempt)
            self._in_pool[key] = (definition, context, pool, started)
            try:
                result, failure = await pool.run(definition, envelope, context)
            finally:
                del self._in_pool[key]
            if self._cancelled and (cancelled := self._cancelled.pop(key, None)) is not None:
                result, failure = await cancelled.ended(result, failure)
        return Outcome(
            envelope=envelope, started=started, ended=now(), result=result, failure=failure
        )

    def stop(self) -> None:
        """From now on a cancelled task is ours: its job was not finished, and not acked."""
        self._pools.stop()

    async def ended(self) -> None:
        """Return when nothing is left of the pools, after ``stop``."""
        await self._pools.ended()


def _force(pool: Pool, definition: Definition) -> Force:
    if not isinstance(pool, LocalPool | SoloPool):
        return "after the grace"
    return "at once" if definition.is_async else "never"


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
