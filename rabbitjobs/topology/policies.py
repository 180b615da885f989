"""The broker policies of a plan: what can be tuned in place, with the safety keys repeated."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from rabbitjobs.broker.version import Capabilities
from rabbitjobs.topology import names
from rabbitjobs.topology.model import QueueSpec, TopologySpec
from rabbitjobs.topology.objects import Arguments, Policy, Queue


def policies(
    spec: TopologySpec, queues: Iterable[Queue], capabilities: Capabilities
) -> Iterable[Policy]:
    """One policy for each queue that is ours, for no stranger's to hide a guarantee."""
    for queue in queues:
        if queue.role != "raw":
            definition = _definition(spec, queue, capabilities)
            yield Policy(name=queue.name, pattern=exact_pattern(queue.name), definition=definition)


def _definition(spec: TopologySpec, queue: Queue, capabilities: Capabilities) -> Arguments:
    if queue.role == "work" and queue.of is not None:
        return _safety(queue) | _tunables(spec.queues[queue.of], capabilities)
    # With the default of 20 deliveries a crashing reader would destroy what has no dead letter
    # exchange; and below 4.0 the default is unlimited while -1 destroys at the first requeue.
    unlimited = {"delivery-limit": -1} if capabilities.unlimited_deliveries else {}
    if queue.name == names.ignored_queue(spec.namespace):
        window = {
            "overflow": "drop-head",
            "max-length": spec.ignored_length,
            "message-ttl": milliseconds(spec.ignored_ttl),
        }
        return window | unlimited
    return _safety(queue) | unlimited


def _safety(queue: Queue) -> dict[str, Any]:
    """The safety keys once more, so that no other policy is needed for them."""
    keys = ("overflow", "dead-letter-strategy", "dead-letter-exchange", "dead-letter-routing-key")
    return {key: queue.arguments[f"x-{key}"] for key in keys if f"x-{key}" in queue.arguments}


def _tunables(queue: QueueSpec, capabilities: Capabilities) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if not is_classic(queue, capabilities):
        found["delivery-limit"] = queue.delivery_limit
    if queue.max_length is not None:
        found["max-length"] = queue.max_length
    if queue.message_ttl is not None:
        found["message-ttl"] = milliseconds(queue.message_ttl)
    if queue.wanted_timeout is not None and capabilities.consumer_timeout != "node":
        found["consumer-timeout"] = milliseconds(queue.wanted_timeout)
    return found


def exact_pattern(name: str) -> str:
    """A policy pattern that matches ``name`` and nothing else."""
    return f"^{escape_pattern(name)}$"


def escape_pattern(name: str) -> str:
    """``name`` as a part of RabbitMQ's patterns.

    Only ASCII signs are escaped: RabbitMQ matches bytes, where letters beyond ASCII are literal.
    """
    return re.sub(r"([^0-9A-Za-z_-]+)", _escape, name)


def _escape(match: re.Match[str]) -> str:
    return "".join(f"\\{sign}" if sign.isascii() else sign for sign in match.group())


def is_classic(queue: QueueSpec, capabilities: Capabilities) -> bool:
    """Whether the work queue is a classic one: priorities on a broker without them in quorum."""
    return bool(queue.priorities) and not capabilities.priority_levels


def milliseconds(duration: timedelta) -> int:
    """A duration in RabbitMQ's unit, rounded up."""
    return -(-duration // timedelta(milliseconds=1))
