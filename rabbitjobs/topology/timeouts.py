"""Whether the broker gives the jobs of a queue the time that the config says they may take."""

from __future__ import annotations

from datetime import timedelta

from rabbitjobs.clock import format_duration
from rabbitjobs.topology.drift import overriding
from rabbitjobs.topology.live import Live
from rabbitjobs.topology.plan import Plan


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
