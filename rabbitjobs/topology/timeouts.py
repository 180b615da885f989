"""Whether the broker gives the jobs of a queue the time that the config says they may take."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta

from rabbitjobs.clock import format_duration
from rabbitjobs.topology.drift import overriding
from rabbitjobs.topology.live import Live
from rabbitjobs.topology.model import ENDING_TIME, NODES_TIMEOUT, QueueSpec
from rabbitjobs.topology.plan import Plan

# The hard limits of all jobs of one queue; ``None`` for a job without one.
Limits = Collection[timedelta | None]


def too_short(plan: Plan, live: Live) -> tuple[str, ...]:
    """A sentence for each queue whose effective consumer timeout is not above its time limit.

    An operator policy can cut into ours; what a node's configuration says cannot be seen.
    """
    found: list[str] = []
    for queue in plan.queues:
        limit = plan.spec.queues[queue.of].time_limit if queue.of and queue.role == "work" else None
        known = live.queues.get(queue.name)
        if limit is None or known is None:
            continue
        effective = overriding(known, live.operator_policies)[1].get("consumer-timeout")
        if not isinstance(effective, int):
            continue
        timeout = timedelta(milliseconds=effective)
        if timeout <= limit:
            found.append(
                f"queue {queue.name}: expected a consumer timeout above the time_limit of "
                f"{format_duration(limit)}, got {format_duration(timeout)} in effect; raise "
                "consumer-timeout in the operator policy, or lower time_limit"
            )
    return tuple(found)


def asked_timeout(queue: QueueSpec, limits: Limits) -> timedelta | None:
    """The consumer timeout that a worker asks for itself, where the broker lets it (4.3).

    ``limits`` are the hard limits of all jobs of the queue. ``None``: what the queue or the node
    has will do, or must: the time of a job without a limit is not ours to cut.
    """
    longest = longest_of(limits)
    if longest is None or None in limits or not _too_long(queue, longest):
        return None
    return longest + ENDING_TIME


def unserved(plan: Plan, limits: Mapping[str, Limits]) -> tuple[str, ...]:
    """A sentence for each queue whose broker would take a job back before its hard limit.

    ``limits`` holds the hard limits of all jobs of each queue that is to be consumed. Where the
    timeout can only be set on the node (3.10), a queue that accepts that is taken at its word.
    """
    where = plan.capabilities.consumer_timeout
    found: list[str] = []
    for name, known in limits.items():
        queue, longest = plan.spec.queues.get(name), longest_of(known)
        if queue is None or longest is None or not _too_long(queue, longest):
            continue
        if where == "consumer" and asked_timeout(queue, known) is not None:
            continue
        if where == "node" and "consumer-timeout" in queue.accept:
            continue
        found.append(
            f"queue {name}: expected a consumer timeout of at least "
            f"{format_duration(longest + ENDING_TIME)} for its jobs' longest hard_limit of "
            f"{format_duration(longest)}, got {format_duration(_timeout(queue))}; set time_limit: "
            f"{format_duration(longest)} on the queue and apply, or lower the hard_limit"
        )
    return tuple(found)


def longest_of(limits: Limits) -> timedelta | None:
    """The longest hard limit of those jobs that have one."""
    return max((limit for limit in limits if limit is not None), default=None)


def _too_long(queue: QueueSpec, longest: timedelta) -> bool:
    return longest + ENDING_TIME > _timeout(queue)


def _timeout(queue: QueueSpec) -> timedelta:
    return queue.wanted_timeout or NODES_TIMEOUT
