"""Consumers with gates before them, on a broker in memory."""

from __future__ import annotations

import time
from typing import Any

from rabbitjobs import events
from rabbitjobs.backend.protocol import Record
from rabbitjobs.consumer.consumer import QueueConsumer
from rabbitjobs.consumer.limits.gate import Gate
from rabbitjobs.consumer.limits.leases import Leases
from rabbitjobs.consumer.limits.limiter import Limiter
from rabbitjobs.job.definition import Definition, define
from rabbitjobs.policy.rate import Rate
from tests.unit.consumer.bench import Bench, Memory
from tests.unit.consumer.limits.sharing import Shared


class Clocked(Shared):
    """By the real clock."""

    def __getattribute__(self, name: str) -> Any:
        return time.monotonic() if name == "time" else super().__getattribute__(name)


class Gated:
    """Consumers of queue ``q`` with gates before them; jobs by name, each may have limits."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.shared = Clocked()
        self.consumers: list[QueueConsumer] = []
        self.gates: list[Gate] = []

    def job(self, name: str, function: Any, **more: Any) -> None:
        """Register one."""
        values: dict[str, Any] = {"retry": None, "rules": (), "ignore_result": False} | more
        self.bench.registry.add(define(function, name=name, queue="q", **values))

    def gate(self, *, queue_rate: Rate | None = None, room: int = 10) -> Gate:
        """One more gate."""
        made: dict[str, Limiter] = {}

        def limiter(name: str, wanted: Rate) -> Limiter:
            if name not in made:
                made[name] = Limiter(name, wanted, self.shared.take, wake=self._look)
            return made[name]

        def limits(definition: Definition | None) -> tuple[Limiter, ...]:
            found = () if queue_rate is None else (limiter("queue q", queue_rate),)
            if definition is None or definition.rate is None:
                return found
            return (*found, limiter(f"job {definition.name}", definition.rate))

        gate = Gate(
            definition_of=self.bench.registry.get,
            limits_of=limits,
            limiters=made.values,
            leases=Leases(self.shared, bus=self.bench.bus),
            put_off=self.bench.handler.put_off,
            room=lambda _slots: room,
        )
        self.gates.append(gate)
        return gate

    async def start(self, *, queue_rate: Rate | None = None, room: int = 10) -> None:
        """One more process that consumes, with two slots."""
        consumer = QueueConsumer(
            queue="q",
            namespace="shop",
            session=self.bench.session,
            handler=self.bench.handler,
            slots=2,
            bus=self.bench.bus,
            gate=self.gate(queue_rate=queue_rate, room=room),
        )
        self.consumers.append(consumer)
        await consumer.start()

    def _look(self) -> None:
        for gate in self.gates:
            gate.look()

    async def record(self, record: Record) -> bool:
        """As the store does: the lease ends with the record."""
        first = await Memory.record(self.bench.memory, record)
        if first and record.lease is not None:
            await self.shared.free(record.job_id, record.lease)
        return first

    def put(self, job: str, *ids: str, body: bytes = b"{}") -> None:
        """Messages stand in the queue."""
        self.bench.put(*ids, job=job, body=body)

    async def succeeded(self, count: int) -> None:
        """Wait for so many endings."""
        await self.bench.until(lambda: len(self.bench.heard(events.JobSucceeded)) >= count)

    @property
    def put_off(self) -> list[events.JobPutOff]:
        """What has been put off."""
        return self.bench.heard(events.JobPutOff)
