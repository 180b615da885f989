"""The gate of one queue: its rates and keys, put together from config and code."""

from __future__ import annotations

from collections.abc import Callable

from rabbitjobs.app.application import RabbitJobs
from rabbitjobs.consumer.limits.gate import Gate, PutOff
from rabbitjobs.consumer.limits.leases import Leases, Sharing
from rabbitjobs.consumer.limits.limiter import Limiter, own_line
from rabbitjobs.errors import WorkerError
from rabbitjobs.job.definition import Definition
from rabbitjobs.policy.rate import Rate
from rabbitjobs.topology.model import QueueSpec

# So many jobs of a queue wait for a rate or a key beside those in its slots, for a moment each.
LEAST_ROOM = 10


def gate_of(
    app: RabbitJobs,
    queue: QueueSpec,
    put_off: PutOff,
    *,
    away: Callable[[str], None],
) -> Gate | None:
    """The gate, or ``None`` where nothing is limited: then no message pays for it.

    Raises ``WorkerError`` where a limit of the whole fleet has no store to be shared over, and for
    a job with a limit on an ordered queue.
    """
    limited = [job for job in app.registry if job.rate is not None or job.concurrency is not None]
    if queue.rate is None and not limited:
        return None
    _refuse_ordered(queue, limited)
    shares = app.parts.shares()
    if shares is None:
        _refuse_fleet(queue, limited, app.spec.where(queue.line))
    limiters = Limiters(queue, shares, away)
    here = queue.rate is not None or any(job.queue == queue.name for job in limited)
    gate = Gate(
        definition_of=app.registry.get,
        limits_of=limiters.of,
        limiters=limiters.all,
        leases=Leases(shares, bus=app.bus, away=away) if shares is not None else None,
        put_off=put_off,
        room=(lambda slots: max(slots, LEAST_ROOM)) if here else (lambda _slots: 0),
    )
    limiters.gate = gate
    return gate


class Limiters:
    """The limiters of one queue's jobs, each made when it is first met."""

    def __init__(
        self, queue: QueueSpec, shares: Sharing | None, away: Callable[[str], None]
    ) -> None:
        self._shares = shares
        self._away = away
        self._made: dict[str, Limiter] = {}
        self._of: dict[str, tuple[Limiter, ...]] = {}
        self.gate: Gate | None = None
        self._queue = (
            () if queue.rate is None else (self._limiter(f"queue {queue.name}", queue.rate),)
        )

    def of(self, definition: Definition | None) -> tuple[Limiter, ...]:
        """Every rate that holds for a job (``None``: one that is unknown here)."""
        if definition is None or definition.rate is None:
            return self._queue
        found = self._of.get(definition.name)
        if found is None:
            own = self._limiter(f"job {definition.name}", definition.rate)
            found = self._of[definition.name] = (*self._queue, own)
        return found

    def all(self) -> tuple[Limiter, ...]:
        """Those that were made."""
        return tuple(self._made.values())

    def _look(self) -> None:
        if self.gate is not None:
            self.gate.look()

    def _limiter(self, name: str, rate: Rate) -> Limiter:
        if name not in self._made:
            if rate.scope == "process" or self._shares is None:
                take = own_line()
            else:
                take = self._shares.take
            self._made[name] = Limiter(name, rate, take, wake=self._look, away=self._away)
        return self._made[name]


def _refuse_ordered(queue: QueueSpec, limited: list[Definition]) -> None:
    for job in limited:
        if queue.ordered and job.queue == queue.name:
            raise WorkerError(
                f"{job.source}: expected no rate and no concurrency key of job {job.name} on the "
                f"ordered queue {queue.name} (what waits loses its place), got one",
                queue=queue.name,
            )


def _refuse_fleet(queue: QueueSpec, limited: list[Definition], where: str) -> None:
    if queue.rate is not None and queue.rate.scope == "fleet":
        place = f"{where}: " if where else ""
        raise WorkerError(
            f"{place}expected a store for the rate of queue {queue.name}, which the fleet shares, "
            "got none; set store.url, or scope: process",
            queue=queue.name,
        )
    for job in limited:
        if job.concurrency is not None or (job.rate is not None and job.rate.scope == "fleet"):
            what = "concurrency key" if job.concurrency is not None else "rate"
            raise WorkerError(
                f"{job.source}: expected a store for the {what} of job {job.name}, which the fleet "
                "shares, got none; set store.url",
                queue=queue.name,
            )
