"""The gate of one queue: its rates and keys, put together from config and code."""

from __future__ import annotations

from collections.abc import Callable

from rabbitjobs.app.application import RabbitJobs
from rabbitjobs.consumer.controlled import RateChange
from rabbitjobs.consumer.limits.gate import Gate, PutOff
from rabbitjobs.consumer.limits.leases import Leases, Sharing
from rabbitjobs.consumer.limits.limiter import Limiter, own_line
from rabbitjobs.errors import ControlRefused, WorkerError
from rabbitjobs.job.definition import Definition
from rabbitjobs.policy.rate import Rate
from rabbitjobs.policy.rate import rate as rate_from
from rabbitjobs.topology.model import QueueSpec

# So many jobs of a queue wait for a rate or a key beside those in its slots, for a moment each.
LEAST_ROOM = 10


def limits_of(
    app: RabbitJobs,
    queue: QueueSpec,
    put_off: PutOff,
    *,
    away: Callable[[str], None],
) -> Limits:
    """The limits of one queue.

    Raises ``WorkerError`` where a limit of the whole fleet has no store to be shared over, and for
    a job with a limit on an ordered queue.
    """
    limited = [job for job in app.registry if job.rate is not None or job.concurrency is not None]
    limits = Limits(app, queue, put_off, away=away)
    if queue.rate is None and not limited:
        return limits
    _refuse_ordered(queue, limited)
    if app.parts.store_url is None:
        _refuse_fleet(queue, limited, app.spec.where(queue.line))
    if queue.rate is not None or any(job.queue == queue.name for job in limited):
        limits.give_room()
    limits.make_gate()
    return limits


class Limits:
    """The gate of one queue, and its rates. Remote control may change those, in this process.

    ``gate`` is ``None`` where nothing is limited: then no message pays for it.
    """

    def __init__(
        self,
        app: RabbitJobs,
        queue: QueueSpec,
        put_off: PutOff,
        *,
        away: Callable[[str], None],
    ) -> None:
        self.gate: Gate | None = None
        self._app = app
        self._queue = queue
        self._put_off = put_off
        self._away = away
        self._has_room = False
        self._shares = app.parts.shares()
        self._limiters = Limiters(queue, self._shares, self._look, away)

    def give_room(self) -> None:
        """Have jobs wait at the gate, beside those in the slots."""
        self._has_room = True

    def make_gate(self) -> Gate:
        """The gate, made if there is none yet."""
        if self.gate is None:
            shares = self._shares
            leases = Leases(shares, bus=self._app.bus, away=self._away) if shares else None
            self.gate = Gate(
                definition_of=self._app.registry.get,
                limits_of=self._limiters.of,
                limiters=self._limiters.all,
                leases=leases,
                put_off=self._put_off,
                room=lambda slots: max(slots, LEAST_ROOM) if self._has_room else 0,
            )
        return self.gate

    def set_rate(self, text: str, job: str | None) -> RateChange:
        """Start at most so many jobs of the queue, or of one of its jobs.

        Its scope is that of the rate it replaces, else the fleet. Raises ``ControlRefused`` for
        what is no rate, for a job that is not known here, on an ordered queue, and where a rate of
        the fleet has no store to be shared over.
        """
        if self._queue.ordered:
            raise ControlRefused(
                "expected a queue that takes rates, got an ordered queue (what waits loses its "
                "place)",
                queue=self._queue.name,
            )
        definition = self._app.registry.get(job) if job is not None else None
        if job is not None and definition is None:
            raise ControlRefused(f"expected a job that is known here, got {job!r}")
        before = self._limiters.rate_of(definition)
        try:
            rate = rate_from(text, scope=before.scope if before is not None else "fleet")
        except ValueError as error:
            raise ControlRefused(str(error)) from None
        if rate.scope == "fleet" and self._shares is None:
            raise ControlRefused(
                "expected a store for a rate that the fleet shares, got none; set store.url, or "
                "give it a rate of scope: process in the config first"
            )
        self._limiters.set(definition, rate)
        self.give_room()
        return RateChange(gate=self.make_gate(), rate=rate, before=before)

    def _look(self) -> None:
        if self.gate is not None:
            self.gate.look()


class Limiters:
    """The limiters of one queue's jobs, each made when it is first met."""

    def __init__(
        self,
        queue: QueueSpec,
        shares: Sharing | None,
        wake: Callable[[], None],
        away: Callable[[str], None],
    ) -> None:
        self._shares = shares
        self._wake = wake
        self._away = away
        self._made: dict[str, Limiter] = {}
        self._of: dict[str, tuple[Limiter, ...]] = {}
        self._set: dict[str, Rate] = {}
        self._name = f"queue {queue.name}"
        self._queue: tuple[Limiter, ...] = ()
        if queue.rate is not None:
            self._queue = (self._limiter(self._name, queue.rate),)

    def of(self, definition: Definition | None) -> tuple[Limiter, ...]:
        """Every rate that holds for a job (``None``: one that is unknown here)."""
        rate = self._own(definition)
        if definition is None or rate is None:
            return self._queue
        found = self._of.get(definition.name)
        if found is None:
            own = self._limiter(f"job {definition.name}", rate)
            found = self._of[definition.name] = (*self._queue, own)
        return found

    def all(self) -> tuple[Limiter, ...]:
        """Those that were made."""
        return tuple(self._made.values())

    def rate_of(self, definition: Definition | None) -> Rate | None:
        """The rate of a job by itself, or (``None``) of the queue."""
        if definition is not None:
            return self._own(definition)
        return self._queue[0].rate if self._queue else None

    def set(self, definition: Definition | None, rate: Rate) -> None:
        """Have a job, or (``None``) the queue, keep another rate from now on."""
        if definition is None:
            self._queue = (self._limiter(self._name, rate),)
            self._queue[0].change(rate)
            self._of.clear()
        else:
            self._set[definition.name] = rate
            self._limiter(f"job {definition.name}", rate).change(rate)

    def _own(self, definition: Definition | None) -> Rate | None:
        return self._set.get(definition.name, definition.rate) if definition is not None else None

    def _limiter(self, name: str, rate: Rate) -> Limiter:
        if name not in self._made:
            if rate.scope == "process" or self._shares is None:
                take = own_line()
            else:
                take = self._shares.take
            self._made[name] = Limiter(name, rate, take, wake=self._wake, away=self._away)
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
