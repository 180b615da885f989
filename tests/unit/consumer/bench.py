"""A consumer on a broker in memory, with a recorder in memory that can be down."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from rabbitjobs import events
from rabbitjobs.backend.protocol import Record
from rabbitjobs.broker.url import Address
from rabbitjobs.broker.version import from_version
from rabbitjobs.consumer.consumer import QueueConsumer
from rabbitjobs.consumer.drained import Drained
from rabbitjobs.consumer.executor import Executor
from rabbitjobs.consumer.handle import Handler
from rabbitjobs.consumer.pools.choice import Pools
from rabbitjobs.consumer.pools.protocol import PoolOptions
from rabbitjobs.errors import StoreUnavailable
from rabbitjobs.events import Event
from rabbitjobs.job.definition import define
from rabbitjobs.job.registry import Registry
from rabbitjobs.message.codec import encode
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.message.properties import Properties
from rabbitjobs.publisher.publisher import Publisher
from rabbitjobs.testing.memory import declare_plan
from rabbitjobs.topology.model import QueueSpec, RuleSpec, TopologySpec, default_retry
from rabbitjobs.topology.plan import compile_plan
from rabbitjobs.wire.memory import MemoryBroker, MemoryWire
from rabbitjobs.wire.protocol import Confirmed, Outgoing
from rabbitjobs.wire.session import Session

SPEC = TopologySpec(
    namespace="shop",
    queues={"q": QueueSpec(name="q", rules=(RuleSpec(do="ignore", errors=("LookupError",)),))},
    retry={"default": default_retry()},
)


class Memory:
    """A recorder in memory, which can be down."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, int], Record] = {}
        self.down = False
        self.asked: list[tuple[str, int]] = []
        self.noted: list[Record] = []

    async def recorded(self, job_id: str, attempt: int) -> bytes | None:
        """See ``Recorder``."""
        self.asked.append((job_id, attempt))
        found = self.records.get((job_id, attempt))
        return None if found is None else found.decision or b""

    async def record(self, record: Record) -> bool:
        """See ``Recorder``."""
        if self.down:
            raise StoreUnavailable("the store is down")
        key = (record.job_id, record.attempt)
        if key in self.records:
            return False
        self.records[key] = record
        return True

    def running(self, record: Record) -> None:
        """See ``Recorder``."""
        self.noted.append(record)

    def progress(self, job_id: str, progress: bytes) -> None:
        """See ``Recorder``."""


class Bench:
    """A worker of queue ``q`` with two slots."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()
        declare_plan(self.broker, compile_plan(SPEC, from_version(self.broker.version)))
        self.session = Session(lambda: MemoryWire(self.broker), [Address()], name="t")
        self.memory = Memory()
        self.registry = Registry()
        self.bus = events.Bus()
        self.events: list[Event] = []
        self.bus.listen(self.events.append)
        publisher = Publisher(
            spec=lambda: SPEC,
            session=lambda: self.session,
            results=lambda: None,
            unique=lambda: None,
            outbox=lambda _tx, _envelope, _undone: None,
        )
        self.handler = Handler(
            queue="q",
            spec=SPEC,
            registry=self.registry,
            executor=Executor(self.registry, Pools(lambda _name: PoolOptions(size=2))),
            recorder=self.memory,
            publish=publisher.confirmed,
            bus=self.bus,
            keep=60.0,
            worker="w",
            chance=lambda: 0.5,
        )
        self.consumer = self.new_consumer()

    def new_consumer(self, prefetch: int | None = None) -> QueueConsumer:
        """Another one of two slots, not started yet."""
        return QueueConsumer(
            queue="q",
            namespace="shop",
            session=self.session,
            handler=self.handler,
            slots=2,
            prefetch=prefetch,
            bus=self.bus,
        )

    def register(self, function: Callable[..., Any], **more: Any) -> None:
        """Make it the job called ``job``."""
        values: dict[str, Any] = {"retry": None, "rules": (), "ignore_result": False} | more
        self.registry.add(define(function, name="job", queue="q", **values))

    def put(self, *ids: str, body: bytes = b"{}", **more: Any) -> None:
        """Messages stand in the queue."""
        for each in ids:
            envelope = Envelope(**({"id": each, "job": "job", "queue": "q", "body": body} | more))
            self.raw(encode(envelope), body)

    def raw(self, properties: Properties, body: bytes = b"{}") -> None:
        """A message of anybody stands in the queue."""
        assert isinstance(
            self.broker.publish(Outgoing("shop.jobs", "q", properties, body)), Confirmed
        )

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for the broker or the events."""
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0.002)

    async def settled(self) -> None:
        """Wait until nothing is left in the queue, acked or elsewhere."""
        await self.until(lambda: self.broker.depth("shop.q.q") == (0, 0))

    def heard(self, kind: type[Event]) -> list[Any]:
        """Events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def failed(self, kind: str) -> list[Any]:
        """What stands in a queue of failed jobs."""
        return list(self.broker.messages(f"shop.{kind}"))

    async def drain(self, grace: float = 5.0) -> Drained:
        """Stop."""
        return await self.consumer.drain(grace, asyncio.Event())
