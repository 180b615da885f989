"""Looking into queues: what stands there, what a look disturbs, and the look itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from rabbitjobs.broker.version import Capabilities
from rabbitjobs.errors import TopologyError
from rabbitjobs.monitor.facts import BrokerFacts
from rabbitjobs.topology.model import TopologySpec
from rabbitjobs.topology.objects import Queue
from rabbitjobs.topology.plan import Plan
from rabbitjobs.wire.browsing import browsing
from rabbitjobs.wire.protocol import Delivery, Wire

# A message that is ready arrives at once; none for this long means that others take them.
IDLE_SECONDS: Final = 1.0
# The waiting rooms of delays; shown on request only, there are more than thirty of them.
WAITING: Final = frozenset({"retry", "landing", "delay"})


def find_queue(plan: Plan, name: str) -> Queue:
    """The planned queue that ``name`` means: a queue of the config, ``review``, or a full name.

    Raises ``TopologyError`` for any other: nothing outside the config is looked into or purged.
    """
    spec = plan.spec
    by_name = {queue.name: queue for queue in plan.queues}
    for full in (name, f"{spec.namespace}.q.{name}", f"{spec.namespace}.{name}"):
        if full in by_name:
            return by_name[full]
    known = ", ".join([*spec.queues, "review", "notify", "ignored", "quarantine", "undeliverable"])
    raise TopologyError(f"expected a queue of the config ({known}), got {name!r}", queue=name)


def rows(broker: BrokerFacts, *, everything: bool = False) -> list[dict[str, Any]]:
    """One row for each planned queue that exists or should: for a table, or as JSON.

    ``ready`` and ``consumers`` are of this moment; ``unacked`` and ``held`` come from the
    management API, ``None`` without it, and may be seconds old. ``held`` counts what is neither
    ready nor unacked: delayed, or waiting for its dead letter to be taken.
    """
    planned = broker.plan.queues if broker.plan else ()
    return [
        _row(queue, broker)
        for queue in planned
        if everything or queue.role not in WAITING or broker.queues[queue.name].ready
    ]


def _row(queue: Queue, broker: BrokerFacts) -> dict[str, Any]:
    seen = broker.queues[queue.name]
    live = broker.live_queues.get(queue.name)
    unacked = _count(live, "messages_unacknowledged")
    total = _count(live, "messages")
    ready = _count(live, "messages_ready")
    known = total is not None and ready is not None and unacked is not None
    return {
        "queue": queue.name,
        "role": queue.role if queue.role != "fail" else "keeping",
        "ready": seen.ready,
        "unacked": unacked,
        "held": max(0, total - ready - unacked) if known else None,  # type: ignore[operator]
        "consumers": seen.consumers,
        "fault": {0: "", 404: "does not exist", 403: "no right"}.get(seen.fault, str(seen.fault)),
    }


def _count(live: Mapping[str, Any] | None, key: str) -> int | None:
    value = live.get(key) if live is not None else None
    return value if isinstance(value, int) else None


def peek_disturbs(queue: Queue, capabilities: Capabilities, spec: TopologySpec) -> list[str]:
    """What looking at messages changes on this broker, in sentences.

    A look takes the messages and hands them back: AMQP has no other (and the management API does
    the very same).
    """
    found = [
        "the messages are taken for a moment, and come back with the flag `redelivered`",
        "consumers of the queue do not get them meanwhile, and may get them in another order",
    ]
    limit = spec.queues[queue.of].delivery_limit if queue.role == "work" and queue.of else None
    if not capabilities.handback_counts:
        found.append(f"RabbitMQ {capabilities.version} does not count it as a delivery")
    elif limit is not None:
        found.append(
            f"RabbitMQ {capabilities.version} counts it: after {limit} deliveries that were not "
            "acked a message goes to review, so every look brings it nearer to that"
        )
    else:
        found.append(f"RabbitMQ {capabilities.version} counts it, but this queue has no limit")
    if queue.arguments.get("x-single-active-consumer"):
        found.append("its order may change; while a worker consumes, nothing can be seen at all")
    if queue.role in WAITING:
        found.append("a message that falls due meanwhile waits until the look is over")
    return found


def purge_destroys(queue: Queue, seen_ready: int, capabilities: Capabilities) -> list[str]:
    """What purging destroys, in sentences."""
    found = [f"{seen_ready:,} ready messages of {queue.name} are destroyed, for ever"]
    if queue.role in ("work", "retry", "landing", "delay"):
        found.append(
            "they are jobs that were confirmed to their senders; no record of them is kept"
        )
    if queue.arguments.get("x-dead-letter-strategy") and capabilities.generation == "4.3":
        found.append(
            f"RabbitMQ {capabilities.version} destroys those held for dead lettering as well, "
            "which no count shows"
        )
    found.append("what consumers hold unacked is not touched")
    return found


async def peek(wire: Wire, queue: str, count: int) -> list[Delivery]:
    """Look at up to ``count`` messages from the head of ``queue``, and hand them back.

    Raises ``ChannelClosed`` when the queue is not there or may not be read, ``ConnectionLost``
    when the broker ends the look.
    """
    ready, _ = await wire.inspect_queue(queue)
    wanted = min(count, ready)
    seen: list[Delivery] = []
    if not wanted:
        return seen
    async with browsing(wire, queue, prefetch=wanted, idle=IDLE_SECONDS) as browser:
        while len(seen) < wanted and (delivery := await browser.next()) is not None:
            seen.append(delivery)
    return seen
