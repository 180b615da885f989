"""Putting the roles of a worker together: consumers of work queues, intake, notifier."""

from __future__ import annotations

import asyncio
import os
import socket
from functools import partial
from typing import Protocol

from rabbitjobs import events
from rabbitjobs.app.application import RabbitJobs
from rabbitjobs.backend.late import LateRecorder
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
        self._queue, self._bus = queue, app.bus
        self._recorder = recorder = app.parts.recorder()
        self._keeps = any(not job.ignore_result for job in app.registry if job.queue == queue)
        executor = Executor(
            app.registry,
            threads=slots,
            note_progress=recorder.progress if recorder else lambda _job_id, _progress: None,
        )
        handler = Handler(
            queue=queue,
            spec=spec,
            registry=app.registry,
            executor=executor,
            recorder=recorder,
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
        if self._recorder is not None and self._keeps:
            self._bus.listen(partial(self._open_store, self._recorder), each=False)
        await self._consumer.start()

    def _open_store(self, recorder: LateRecorder, event: events.Event) -> None:
        """Beside the first jobs: opened before, they would wait for it."""
        if not isinstance(event, events.ConsumerChanged) or event.queue != self._queue:
            return
        if event.state == "consuming":
            recorder.begin()

    async def drain(self, grace: float, hurry: asyncio.Event) -> Drained:
        """See ``Role``."""
        return await self._consumer.drain(grace, hurry)
