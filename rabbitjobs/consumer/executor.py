"""Running one attempt: whatever happens becomes an outcome. Never raises, but for its own stop."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from rabbitjobs.clock import now
from rabbitjobs.consumer.context import Context
from rabbitjobs.consumer.failure import plain_failure
from rabbitjobs.consumer.pools.choice import Pools
from rabbitjobs.ending.settlement import Outcome
from rabbitjobs.job.registry import Registry
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.policy.decision import Failure


def _nowhere(_job_id: str, _progress: bytes) -> None:
    return


class Executor:
    """Runs jobs of one registry in ``pools``. For use from one event loop."""

    def __init__(
        self,
        registry: Registry,
        pools: Pools,
        *,
        note_progress: Callable[[str, bytes], None] = _nowhere,
    ) -> None:
        self._registry = registry
        self._pools = pools
        self._note_progress = note_progress

    def start(self, queue: str) -> None:
        """Get the pools ready for the jobs of a queue."""
        self._pools.start(one for one in self._registry if one.queue == queue and one.function)

    async def execute(self, envelope: Envelope) -> Outcome:
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
            note = _nowhere if definition.ignore_result else self._note_progress
            context = Context(envelope, note)
            result, failure = await self._pools.of(definition).run(definition, envelope, context)
        return Outcome(
            envelope=envelope, started=started, ended=now(), result=result, failure=failure
        )

    def stop(self) -> None:
        """From now on a cancelled task is ours: its job was not finished, and not acked."""
        self._pools.stop()

    async def ended(self) -> None:
        """Return when nothing is left of the pools, after ``stop``."""
        await self._pools.ended()


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
