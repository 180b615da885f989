"""What stands on a vhost right now: one frozen picture, taken by either of two ways."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import msgspec

from rabbitjobs.broker.management import Management
from rabbitjobs.errors import ChannelClosed
from rabbitjobs.topology.amqp import Amqp, same_or_fault
from rabbitjobs.topology.objects import Binding, Exchange, Queue
from rabbitjobs.topology.plan import Plan


class LiveExchange(msgspec.Struct, frozen=True, kw_only=True):
    """An exchange as it stands. ``fault`` is what the broker said where it told no more."""

    name: str
    type: str = ""
    durable: bool = True
    internal: bool = False
    arguments: Mapping[str, Any] = {}
    fault: str | None = None


class LiveQueue(msgspec.Struct, frozen=True, kw_only=True):
    """A queue as it stands; ``policy`` and ``operator_policy`` are those in effect, by name.

    Before RabbitMQ 4.3 neither ``operator_policy`` nor ``effective`` is told. ``messages`` may be
    seconds old, or unknown. ``fault`` is what the broker said where it told no more.
    """

    name: str
    durable: bool = True
    arguments: Mapping[str, Any] = {}
    policy: str | None = None
    operator_policy: str | None = None
    effective: Mapping[str, Any] = {}
    messages: int | None = None
    fault: str | None = None


class LivePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """A broker policy as it stands."""

    name: str
    pattern: str
    definition: Mapping[str, Any]
    priority: int
    apply_to: str

    @property
    def applies_to_queues(self) -> bool:
        """Whether it can apply to a queue at all."""
        return self.apply_to != "exchanges"

    def matches(self, name: str) -> bool:
        """Whether its pattern fits; one that only Erlang can read does not."""
        try:
            return re.search(self.pattern, name) is not None
        except re.error:
            return False


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """A picture of a vhost.

    ``known`` is false where only AMQP was there to ask: then queues and exchanges hold only the
    planned ones that exist, with ``fault`` instead of arguments, and nothing is known of bindings
    and policies.
    """

    exchanges: Mapping[str, LiveExchange]
    queues: Mapping[str, LiveQueue]
    bindings: frozenset[tuple[str, ...]] = frozenset()
    policies: Mapping[str, LivePolicy] = {}
    operator_policies: tuple[LivePolicy, ...] = ()
    known: bool = True


def binding_key(binding: Binding) -> tuple[str, ...]:
    """What makes two bindings the same one."""
    return _binding_key(
        binding.source,
        binding.destination,
        "exchange" if binding.to_exchange else "queue",
        binding.routing_key,
        binding.arguments,
    )


def read_live(management: Management, vhost: str, *, totals: bool = False) -> Live:
    """Take the picture through the management API; raises `ManagementError`.

    How many messages wait is counted with ``totals`` only, for that asks every queue.
    """
    return Live(
        exchanges={e["name"]: _exchange(e) for e in management.exchanges(vhost)},
        queues={q["name"]: _queue(q) for q in management.queues(vhost, totals=totals)},
        bindings=frozenset(
            _binding_key(
                b["source"],
                b["destination"],
                b["destination_type"],
                b["routing_key"],
                b.get("arguments") or {},
            )
            for b in management.bindings(vhost)
        ),
        policies={p["name"]: _policy(p) for p in management.policies(vhost)},
        operator_policies=tuple(_policy(p) for p in management.operator_policies(vhost)),
    )


def probe_live(amqp: Amqp, plan: Plan) -> Live:
    """Take the picture through AMQP alone, of what ``plan`` names; for `apply`, which declares.

    What exists is declared once more: the broker compares, changes nothing, and says how it
    differs. Raises `ChannelClosed` (403) without the right to configure.
    """
    return Live(
        exchanges={e.name: e for e in _probed_exchanges(amqp, plan.exchanges)},
        queues={q.name: q for q in _probed_queues(amqp, plan.queues)},
        known=False,
    )


def look_live(amqp: Amqp, plan: Plan) -> Live:
    """Look passively, for workers, which never declare: only whether things are there.

    What this user has no right to see (403 on RabbitMQ 4.3) counts as there.
    """
    return Live(
        exchanges={
            e.name: LiveExchange(name=e.name)
            for e in plan.exchanges
            if _seen(amqp.has_exchange, e.name)
        },
        queues={
            q.name: LiveQueue(name=q.name) for q in plan.queues if _seen(amqp.has_queue, q.name)
        },
        known=False,
    )


def _seen(ask: Callable[[str], bool], name: str) -> bool:
    try:
        return ask(name)
    except ChannelClosed as error:
        if error.code == 403:
            return True
        raise


def _probed_exchanges(amqp: Amqp, exchanges: Iterable[Exchange]) -> Iterable[LiveExchange]:
    for exchange in exchanges:
        if amqp.has_exchange(exchange.name):
            fault = same_or_fault(partial(amqp.declare_exchange, exchange))
            yield LiveExchange(name=exchange.name, fault=fault)


def _probed_queues(amqp: Amqp, queues: Iterable[Queue]) -> Iterable[LiveQueue]:
    for queue in queues:
        if amqp.has_queue(queue.name):
            fault = same_or_fault(partial(amqp.declare_queue, queue))
            yield LiveQueue(name=queue.name, fault=fault)


def _exchange(found: Mapping[str, Any]) -> LiveExchange:
    return LiveExchange(
        name=found["name"],
        type=found["type"],
        durable=bool(found["durable"]),
        internal=bool(found["internal"]),
        arguments=found.get("arguments") or {},
    )


def _queue(found: Mapping[str, Any]) -> LiveQueue:
    kind = found.get("type")
    arguments = dict(found.get("arguments") or {})
    if kind and "x-queue-type" not in arguments:
        arguments["x-queue-type"] = kind
    return LiveQueue(
        name=found["name"],
        durable=bool(found["durable"]),
        arguments=arguments,
        policy=found.get("policy") or None,
        operator_policy=found.get("operator_policy") or None,
        effective=found.get("effective_policy_definition") or {},
        messages=found.get("messages"),
    )


def _policy(found: Mapping[str, Any]) -> LivePolicy:
    return LivePolicy(
        name=found["name"],
        pattern=found["pattern"],
        definition=found["definition"],
        priority=found["priority"],
        apply_to=found["apply-to"],
    )


def _binding_key(
    source: str, destination: str, kind: str, key: str, arguments: Mapping[str, Any]
) -> tuple[str, ...]:
    extra = msgspec.json.encode(dict(arguments), order="sorted").decode()
    return source, destination, kind, key, extra
