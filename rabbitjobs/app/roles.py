"""Putting the roles of a worker together: consumers of work queues, intake, notifier."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Protocol

from rabbitjobs.app.application import RabbitJobs
from rabbitjobs.consumer.consumer import QueueConsumer
from rabbitjobs.consumer.drained import Drained
from rabbitjobs.consumer.executor import Executor
from rabbitjobs.consumer.handle import Handler
from rabbitjobs.errors import WorkerError


class Role(Protocol):
    """One thing that a worker process does."""

    name: str

    async def start(self) -> None:
        """Begin; returns at once."""
        ...

    async def drain(self, grace: float, hurry: asyncio.Event) -> Drained:
        """Stop taking and finish within ``grace`` seconds, or at once when ``hurry`` is set."""
        ...


def worker_name() -> str:
    """host:pid, as it stands in records and events."""
    return f"{socket.gethostname()}:{os.getpid()}"


class ConsumeRole:
    """Consumes one work queue."""

    def __init__(self, app: RabbitJobs, queue: str, *, slots: int | None = None) -> None:
        spec = app.spec
        if queue not in spec.queues:
            known = ", ".join(sorted(spec.queues))
            raise WorkerError(
                f"expected a queue of the topology ({known}), got {queue!r}", queue=queue
            )
        known_queue = spec.queues[queue]
        self.name = f"consume {queue}"
        slots = 1 if known_queue.ordered else slots or known_queue.concurrency
        backend = app.parts.backend
        executor = Executor(
            app.registry,
            threads=slots,
            note_progress=backend.progress if backend else lambda _job_id, _progress: None,
        )
        handler = Handler(
            queue=queue,
            spec=spec,
            registry=app.registry,
            executor=executor,
            recorder=backend,
            publish=app.publisher.confirmed,
            bus=app.bus,
            keep=app.settings.keep.total_seconds(),
            worker=worker_name(),
            signing=app.parts.signing,
        )
        self._consumer = QueueConsumer(
            queue=queue,
            namespace=spec.namespace,
            session=app.parts.session(),
            handler=handler,
            slots=slots,
            prefetch=max(known_queue.prefetch or 0, slots),
            bus=app.bus,
            ordered=known_queue.ordered,
        )

    async def start(self) -> None:
        """See ``Role``."""
        await self._consumer.start()

    async def drain(self, grace: float, hurry: asyncio.Event) -> Drained:
        """See ``Role``."""
        return await self._consumer.drain(grace, hurry)
