"""Putting the roles of a worker together: consumers of work queues, intake, notifier."""

from __future__ import annotations

import asyncio
import os
import socket
from functools import partial
from typing import Protocol

from rabbitjobs import events
from rabbitjobs.app.application import RabbitJobs
from rabbitjobs.app.children import program_of
from rabbitjobs.backend.late import LateRecorder
from rabbitjobs.clock import now
from rabbitjobs.consumer.consumer import QueueConsumer
from rabbitjobs.consumer.drained import Drained
from rabbitjobs.consumer.executor import Executor
from rabbitjobs.consumer.handle import Handler
from rabbitjobs.consumer.pools.choice import PROCESSES, SOLO, Pools
from rabbitjobs.consumer.pools.protocol import PoolOptions
from rabbitjobs.errors import WorkerError
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.topology.model import QueueSpec
from rabbitjobs.topology.timeouts import asked_timeout

# What the pools get to end; they bound that themselves, to less.
LEAVE_SECONDS = 5.0


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


def _refuse_a_gate_without_store(app: RabbitJobs, queue: str) -> None:
    gated = [job.name for job in app.registry if job.queue == queue and job.needs_approval]
    if gated and app.parts.store_url is None:
        raise WorkerError(
            f"expected a store for {', '.join(gated)}, which needs approval, got none; set "
            "store.url to that of the desk",
            queue=queue,
        )


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
        one = known_queue.ordered or known_queue.pool == SOLO
        slots = 1 if one else slots or known_queue.concurrency
        self._queue, self._bus, self._app = queue, app.bus, app
        self._recorder = recorder = app.parts.recorder()
        _refuse_a_gate_without_store(app, queue)
        self._keeps = any(not job.ignore_result for job in app.registry if job.queue == queue)
        note_progress = recorder.progress if recorder else lambda _job_id, _progress: None

        def options_for(pool: str) -> PoolOptions:
            return PoolOptions(
                size=_children(known_queue, slots) if pool == PROCESSES else slots,
                program=program_of(app) if pool not in ("asyncio", "threads", SOLO) else None,
                max_jobs_per_child=known_queue.max_jobs_per_child,
                max_memory_per_child=known_queue.max_memory_per_child,
                note_progress=note_progress,
                report=self._report,
                worn_out=self._worn_out,
            )

        self._executor = Executor(
            app.registry,
            Pools(options_for, usual=known_queue.pool),
            note_progress=note_progress,
        )
        handler = Handler(
            queue=queue,
            spec=spec,
            registry=app.registry,
            executor=self._executor,
            recorder=recorder,
            publish=app.publisher.confirmed,
            bus=app.bus,
            keep=app.settings.keep.total_seconds(),
            worker=worker_name(),
            signing=app.parts.signing,
            approved=self._approved if recorder is not None else None,
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
            timeout=asked_timeout(known_queue, app.registry.hard_limits().get(queue, ())),
        )

    async def _approved(self, envelope: Envelope) -> bool:
        # The first look may import and open the store: not on the loop.
        backend = await asyncio.to_thread(lambda: self._app.parts.backend)
        return backend is not None and await backend.approved(envelope)

    async def start(self) -> None:
        """See ``Role``."""
        self._executor.start(self._queue)
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
        drained = await self._consumer.drain(grace, hurry)
        await self._see_off(hurry)
        return drained

    async def _see_off(self, hurry: asyncio.Event) -> None:
        """Children whose worker is gone are killed, though they be in their exit handlers."""
        waits = [asyncio.ensure_future(one) for one in (self._executor.ended(), hurry.wait())]
        await asyncio.wait(waits, timeout=LEAVE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    def _report(self, reason: str) -> None:
        """A pool cannot run jobs for now, or can again: the queue's work stands still meanwhile."""
        state = "delayed" if reason else self._consumer.state
        self._bus.emit(
            events.ConsumerChanged(at=now(), queue=self._queue, state=state, reason=reason)
        )

    def _worn_out(self, reason: str) -> None:
        self._bus.emit(events.WorkerWornOut(at=now(), worker=worker_name(), reason=reason))


def _children(queue: QueueSpec, slots: int) -> int:
    return queue.children or min(slots, os.cpu_count() or 1)
