"""A plan on a broker in memory: what ``topology apply`` does, for tests without RabbitMQ."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from rabbitjobs.topology.plan import Plan, Policy, Queue
from rabbitjobs.wire.memory import MemoryBroker

# Where an argument and a policy both set a limit, RabbitMQ takes the lower one.
_LOWER_WINS = frozenset({"x-delivery-limit", "x-max-length", "x-message-ttl", "x-max-length-bytes"})


def declare_plan(broker: MemoryBroker, plan: Plan) -> None:
    """Declare all of ``plan``: exchanges, queues with their policies worked in, bindings.

    Doing it twice is fine. Raises ``ChannelClosed`` (406) where something stands differently.
    """
    for exchange in plan.exchanges:
        broker.declare_exchange(
            exchange.name,
            exchange.type,
            arguments=exchange.arguments,
            internal=exchange.internal,
        )
    for queue in plan.queues:
        broker.declare_queue(queue.name, arguments=effective_arguments(queue, plan.policies))
    for binding in plan.bindings:
        broker.bind(
            binding.source,
            binding.destination,
            binding.routing_key,
            to_exchange=binding.to_exchange,
        )


def effective_arguments(queue: Queue, policies: Iterable[Policy]) -> dict[str, Any]:
    """The queue's arguments together with those of the policy of highest priority that fits."""
    fitting = [policy for policy in policies if re.search(policy.pattern, queue.name)]
    arguments = dict(queue.arguments)
    for policy in sorted(fitting, key=lambda policy: policy.priority)[-1:]:
        for key, value in policy.definition.items():
            name = f"x-{key}"
            if name not in arguments:
                arguments[name] = value
            elif name in _LOWER_WINS:
                arguments[name] = min(arguments[name], value)
    return arguments
