"""What remote control sees of a worker, and what it can change."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rabbitjobs.clock import now
from rabbitjobs.consumer.consumer import QueueConsumer
from rabbitjobs.consumer.executor import Executor
from rabbitjobs.consumer.limits.gate import Gate
from rabbitjobs.consumer.pools.protocol import TellsStacks
from rabbitjobs.consumer.stacks import coroutine_stack, thread_stacks
from rabbitjobs.control.book import Book
from rabbitjobs.errors import ControlRefused
from rabbitjobs.job.registry import Registry
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.policy.rate import Rate

MOST_SHOWN: Final = 1000


@dataclass(frozen=True)
class RateChange:
    """A rate that was set, and the gate that keeps it; ``before`` is the one it replaces."""

    gate: Gate
    rate: Rate
    before: Rate | None


@dataclass(frozen=True)
class Controlled:
    """One queue that a worker consumes.

    ``change_rate`` sets the rate of it, or of a job. ``fixed`` says why its slots cannot be
    changed.
    """

    queue: str
    consumer: QueueConsumer
    executor: Executor
    book: Book | None
    change_rate: Callable[[str, str | None], RateChange]
    fixed: str = ""

    def set_slots(self, slots: int) -> dict[str, Any]:
        """See ``QueueConsumer.set_slots``; raises ``ControlRefused`` where there can be but one."""
        if self.fixed:
            raise ControlRefused(f"expected a queue of several slots, got {self.fixed}")
        before = self.consumer.slots
        self.consumer.set_slots(slots)
        return {"queue": self.queue, "slots": slots, "before": before}

    def set_rate(self, rate: str, job: str | None) -> dict[str, Any]:
        """Start at most so many jobs of the queue, or of one job; raises ``ControlRefused``."""
        change = self.change_rate(rate, job)
        self.consumer.limit(change.gate)
        return {
            "queue": self.queue,
            "job": job,
            "rate": str(change.rate),
            "before": str(change.before) if change.before is not None else None,
        }

    def pause(self) -> dict[str, Any]:
        """See ``QueueConsumer.pause``."""
        self.consumer.pause()
        return {"queue": self.queue, "paused": True}

    def resume(self) -> dict[str, Any]:
        """See ``QueueConsumer.resume``."""
        self.consumer.resume()
        return {"queue": self.queue, "paused": False}


def stats(queues: Sequence[Controlled], since: float) -> dict[str, Any]:
    """Process and queues; times are seconds, memory is the most that was ever resident."""
    return {
        "pid": os.getpid(),
        "python": sys.version.split()[0],
        "seconds": round(now() - since, 3),
        "most_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "queues": [_queue(one) for one in queues],
    }


def _queue(one: Controlled) -> dict[str, Any]:
    consumer, book = one.consumer, one.book
    settled, returned = consumer.counts
    return {
        "queue": one.queue,
        "state": consumer.state,
        "slots": consumer.slots,
        "busy": consumer.busy,
        "waiting": len(consumer.reserved()),
        "settled": settled,
        "given_back": returned,
        "cancellations": len(book) if book is not None else 0,
        "trouble": book.trouble if book is not None else "",
    }


def active(queues: Iterable[Controlled]) -> list[dict[str, Any]]:
    """The attempts that are in their pools now."""
    at = now()
    found = [
        {
            "job_id": context.job_id,
            "job": context.job,
            "queue": context.queue,
            "attempt": context.attempt,
            "tag": context.tag,
            "seconds": round(at - since, 3),
            "cancelled": context.is_cancelled,
        }
        for one in queues
        for _definition, context, _pool, since in one.executor.running()
    ]
    return found[:MOST_SHOWN]


def reserved(queues: Iterable[Controlled]) -> list[dict[str, Any]]:
    """What is held and has not started."""
    found = [_sent(envelope) for one in queues for envelope in one.consumer.reserved()]
    return found[:MOST_SHOWN]


def _sent(envelope: Envelope) -> dict[str, Any]:
    return {
        "job_id": envelope.id,
        "job": envelope.job,
        "queue": envelope.queue,
        "attempt": envelope.attempt,
        "tag": envelope.tag,
    }


def registered(registry: Registry) -> list[dict[str, Any]]:
    """The jobs whose code is here."""
    return [
        {"job": one.name, "queue": one.queue, "pool": one.pool, "source": one.source}
        for one in registry
        if one.function is not None
    ]


async def stacks_elsewhere(queues: Iterable[Controlled]) -> dict[tuple[str, int], str | None]:
    """What pools of other processes tell of their jobs; on the worker's loop."""
    asked = {
        (context.job_id, context.attempt): pool.stack(context.job_id, context.attempt)
        for one in queues
        for _definition, context, pool, _since in one.executor.running()
        if isinstance(pool, TellsStacks)
    }
    return dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))


def stacks(
    queues: Iterable[Controlled], elsewhere: Mapping[tuple[str, int], str | None]
) -> list[dict[str, Any]]:
    """Where each running job is in its code; ``None`` where that cannot be seen."""
    threads = thread_stacks()
    found: list[dict[str, Any]] = []
    for one in queues:
        tasks = one.consumer.tasks()
        for definition, context, _pool, _since in one.executor.running():
            key = (context.job_id, context.attempt)
            stack = threads.get(key) or elsewhere.get(key)
            if stack is None and definition.is_async and (task := tasks.get(key)) is not None:
                stack = coroutine_stack(task)
            found.append(
                {
                    "job_id": context.job_id,
                    "job": context.job,
                    "attempt": context.attempt,
                    "stack": stack,
                }
            )
    return found[:MOST_SHOWN]
