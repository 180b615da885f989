"""The queues of the broker in memory: entries, their order, and the rules of dead lettering."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from rabbitjobs.message.properties import Properties

_DEFAULT_PRIORITY = 4
_HIGHEST_PRIORITY = 31


class Entry(msgspec.Struct, eq=False):
    """One message in one queue.

    ``failed`` counts for the delivery limit, ``acquired`` counts every time it was handed out.
    ``expires`` is in the broker's own time.
    """

    order: int
    priority: int
    exchange: str
    routing_key: str
    properties: Properties
    body: bytes
    expires: float | None = None
    failed: int = 0
    acquired: int = 0

    def delivered(self) -> Properties:
        """The properties as a consumer sees them: a redelivery carries RabbitMQ's counts."""
        counts = {"x-delivery-count": self.failed, "x-acquired-count": self.acquired}
        seen = {name: count for name, count in counts.items() if count}
        if not seen:
            return self.properties
        return msgspec.structs.replace(self.properties, headers={**self.properties.headers, **seen})


class Subscriber(Protocol):
    """What the broker asks of a consumer; it may call from any thread."""

    def has_room(self) -> bool:
        """Whether its prefetch allows one more."""
        ...

    def take(self, entry: Entry) -> None:
        """Hold this message and hand it over."""
        ...

    def cancelled_by_broker(self, reason: str) -> None:
        """Its queue is gone."""
        ...


class Queue:
    """One queue: its messages, its consumers, and what dead lettering could not place yet."""

    def __init__(self, name: str, arguments: Mapping[str, Any], owner: object) -> None:
        self.name = name
        self.arguments = dict(arguments)
        self.owner = owner
        self.unacked = 0
        self.ready: list[tuple[int, int, Entry]] = []
        self.held: list[tuple[float, Entry, str]] = []
        self.consumers: deque[Subscriber] = deque()

    def argument(self, name: str, default: Any = None) -> Any:
        """An ``x-`` argument by its name without the prefix."""
        return self.arguments.get(f"x-{name}", default)

    def is_quorum(self) -> bool:
        """Whether it is a quorum queue: only those count deliveries and know 32 priorities."""
        return bool(self.argument("queue-type") == "quorum")

    def level(self, priority: int | None) -> int:
        """Where a message of this priority is sorted in; a higher one goes first."""
        if self.is_quorum():
            return min(_DEFAULT_PRIORITY if priority is None else priority, _HIGHEST_PRIORITY)
        return min(priority or 0, int(self.argument("max-priority", 0)))

    def is_full(self) -> bool:
        """Whether the length limit is reached; like RabbitMQ's it counts ready messages only."""
        limit = self.argument("max-length")
        return limit is not None and len(self.ready) >= int(limit)

    def push(self, entry: Entry) -> None:
        """Sort an entry in by priority and age: one that comes back is in front again."""
        heapq.heappush(self.ready, (-entry.priority, entry.order, entry))

    def pop(self) -> Entry:
        """Take the head."""
        return heapq.heappop(self.ready)[2]

    def head_expires(self) -> float | None:
        """When the head expires; nothing behind it expires before."""
        return self.ready[0][2].expires if self.ready else None

    def next_consumer(self) -> Subscriber | None:
        """Whose turn it is, among those with room; with a single active consumer only the first."""
        if self.argument("single-active-consumer"):
            return self.consumers[0] if self.consumers and self.consumers[0].has_room() else None
        for _ in range(len(self.consumers)):
            self.consumers.rotate(-1)
            if self.consumers[-1].has_room():
                return self.consumers[-1]
        return None


def with_death(entry: Entry, queue: str, reason: str, now: int) -> Properties:
    """The properties after one more dead lettering: ``x-death`` and the first and last ones."""
    headers = dict(entry.properties.headers)
    deaths = [dict(death) for death in headers.get("x-death", ())]
    found = next((d for d in deaths if (d["queue"], d["reason"]) == (queue, reason)), None)
    if found is None:
        found = {
            "count": 0,
            "reason": reason,
            "queue": queue,
            "time": now,
            "exchange": entry.exchange,
            "routing-keys": [entry.routing_key],
        }
    else:
        deaths.remove(found)
    found["count"] += 1
    headers["x-death"] = [found, *deaths]
    for when in ("first", "last"):
        for name, value in (("exchange", entry.exchange), ("queue", queue), ("reason", reason)):
            header = f"x-{when}-death-{name}"
            headers[header] = value if when == "last" else headers.get(header, value)
    return msgspec.structs.replace(entry.properties, headers=headers)


def is_cycle(properties: Properties, queue: str) -> bool:
    """RabbitMQ's rule: back to a queue where it died, and no consumer rejected it on the way."""
    deaths = properties.headers.get("x-death", [])
    names = [death["queue"] for death in deaths]
    if queue not in names:
        return False
    way = deaths[: names.index(queue) + 1]
    return all(death["reason"] not in ("rejected", "delivery_limit") for death in way)
