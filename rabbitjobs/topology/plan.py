"""From what the config asks for to what has to stand on the broker: pure, by broker version."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, Final

import msgspec

from rabbitjobs.broker.version import Capabilities
from rabbitjobs.errors import TopologyRefused
from rabbitjobs.topology import names
from rabbitjobs.topology.model import (
    ENDING_TIME,
    LOSSES,
    NEUTRAL_PRIORITY,
    NODES_TIMEOUT,
    Loss,
    QueueSpec,
    TopologySpec,
)
from rabbitjobs.topology.objects import Arguments, Binding, Exchange, Policy, Queue, QueueRole
from rabbitjobs.topology.policies import is_classic, milliseconds, policies

__all__ = [
    "Arguments",
    "Binding",
    "Exchange",
    "Plan",
    "Policy",
    "Queue",
    "compile_plan",
    "losses",
]

LANDING_TTL: Final = timedelta(milliseconds=1)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All that has to stand on one broker, and the bindings (``unbound``) that must not."""

    spec: TopologySpec
    capabilities: Capabilities
    exchanges: tuple[Exchange, ...]
    queues: tuple[Queue, ...]
    bindings: tuple[Binding, ...]
    policies: tuple[Policy, ...]
    unbound: tuple[Binding, ...] = ()


def compile_plan(spec: TopologySpec, capabilities: Capabilities) -> Plan:
    """Compile ``spec`` for a broker that can do ``capabilities``; nothing is sent anywhere.

    Raises `TopologyRefused`, naming every case, where the version cannot give what was asked and
    the queue's ``accept`` does not name the loss.
    """
    _refuse_losses(spec, capabilities)
    queues = (
        *(_raw_queue(raw.name, raw.type, raw.arguments) for raw in spec.raw_queues),
        *(_work_queue(spec, queue, capabilities) for queue in spec.queues.values()),
        *_retry_queues(spec),
        *_landing_queues(spec),
        *_level_queues(spec),
        *_fail_queues(spec),
    )
    return Plan(
        spec=spec,
        capabilities=capabilities,
        exchanges=tuple(_exchanges(spec)),
        queues=queues,
        bindings=tuple(_bindings(spec)),
        policies=tuple(policies(spec, queues, capabilities)),
        unbound=tuple(_ladder_end(spec, q, landing=not q.max_length) for q in _all(spec)),
    )


# --- what older versions cannot give ---------------------------------------------------------


def losses(queue: QueueSpec, capabilities: Capabilities) -> tuple[Loss, ...]:
    """What this broker takes away from ``queue``, by the names that ``accept`` uses."""
    found: list[Loss] = []
    if queue.priorities and not capabilities.priority_levels:
        found.append("classic-queue")
    elif len(queue.priorities) > 2 and capabilities.priority_levels == 2:
        found.append("two-priorities")
    if capabilities.consumer_timeout == "node" and _needs_timeout(queue):
        found.append("consumer-timeout")
    return tuple(found)


def _needs_timeout(queue: QueueSpec) -> bool:
    """Whether the timeout that a node has by default does not do: it cannot be seen from here."""
    limited = queue.time_limit is not None and queue.time_limit + ENDING_TIME > NODES_TIMEOUT
    return limited or queue.consumer_timeout is not None


def _refuse_losses(spec: TopologySpec, capabilities: Capabilities) -> None:
    refused = [
        f"{spec.where(queue.line)} queue {queue.name!r}: expected a broker that can do what the "
        f"config asks for, got RabbitMQ {capabilities.version}, where it would cost: "
        f"{LOSSES[loss]}; write `accept: [{loss}]` on the queue, or take a newer broker".strip()
        for queue in spec.queues.values()
        for loss in losses(queue, capabilities)
        if loss not in queue.accept
    ]
    if refused:
        raise TopologyRefused("\n".join(refused))


# --- queues ----------------------------------------------------------------------------------


def _work_queue(spec: TopologySpec, queue: QueueSpec, capabilities: Capabilities) -> Queue:
    fail = names.fail_exchange(spec.namespace)
    own = queue.name if queue.review_own else None
    arguments = _safe_arguments(fail, names.fail_key("review", own))
    if is_classic(queue, capabilities):
        arguments["x-queue-type"] = "classic"
        arguments["x-max-priority"] = _highest_priority(queue)
        del arguments["x-dead-letter-strategy"]
    if queue.ordered:
        arguments["x-single-active-consumer"] = True
    name = names.work_queue(spec.namespace, queue.name)
    return Queue(name=name, role="work", arguments=arguments, of=queue.name)


def _highest_priority(queue: QueueSpec) -> int:
    usual = queue.usual_priority
    above = len(queue.priorities) - 1 - queue.priorities.index(usual) if usual else 0
    return NEUTRAL_PRIORITY + above


def _retry_queues(spec: TopologySpec) -> Iterable[Queue]:
    for queue in spec.queues:
        for delay in spec.steps_of(queue):
            yield _waiting(
                names.retry_queue(spec.namespace, queue, delay), "retry", spec, queue, delay
            )


def _landing_queues(spec: TopologySpec) -> Iterable[Queue]:
    for queue in _all(spec):
        if queue.max_length:
            name = names.landing_queue(spec.namespace, queue.name)
            yield _waiting(name, "landing", spec, queue.name, LANDING_TTL)


def _waiting(name: str, role: QueueRole, spec: TopologySpec, queue: str, delay: timedelta) -> Queue:
    arguments = _safe_arguments(names.deliver_exchange(spec.namespace), queue)
    arguments["x-message-ttl"] = milliseconds(delay)
    return Queue(name=name, role=role, arguments=arguments, of=queue)


def _level_queues(spec: TopologySpec) -> Iterable[Queue]:
    for level in range(spec.levels):
        arguments = _safe_arguments(_after_level(spec.namespace, level))
        arguments["x-message-ttl"] = 2**level * 1000
        name = names.delay_level(spec.namespace, level)
        yield Queue(name=name, role="delay", arguments=arguments)


def _after_level(namespace: str, level: int) -> str:
    if level == 0:
        return names.deliver_exchange(namespace)
    return names.delay_level(namespace, level - 1)


def _fail_queues(spec: TopologySpec) -> Iterable[Queue]:
    keeping = {"x-queue-type": "quorum", "x-overflow": "reject-publish"}
    for name in (
        names.review_queue(spec.namespace),
        names.notify_queue(spec.namespace),
        names.quarantine_queue(spec.namespace),
        names.undeliverable_queue(spec.namespace),
    ):
        yield Queue(name=name, role="fail", arguments=keeping)
    for queue in _all(spec):
        if queue.review_own:
            own = names.review_queue(spec.namespace, queue.name)
            yield Queue(name=own, role="fail", arguments=keeping, of=queue.name)
    ignored = names.ignored_queue(spec.namespace)
    yield Queue(name=ignored, role="fail", arguments={"x-queue-type": "quorum"})


def _raw_queue(name: str, kind: str, arguments: Arguments) -> Queue:
    return Queue(name=name, role="raw", arguments={"x-queue-type": kind, **arguments})


def _safe_arguments(dead_letter_exchange: str, key: str | None = None) -> dict[str, Any]:
    """At-least-once dead lettering needs them all; without one it degrades silently."""
    arguments: dict[str, Any] = {
        "x-queue-type": "quorum",
        "x-overflow": "reject-publish",
        "x-dead-letter-strategy": "at-least-once",
        "x-dead-letter-exchange": dead_letter_exchange,
    }
    if key is not None:
        arguments["x-dead-letter-routing-key"] = key
    return arguments


# --- exchanges and bindings ------------------------------------------------------------------


def _exchanges(spec: TopologySpec) -> Iterable[Exchange]:
    for raw in spec.exchanges:
        yield Exchange(name=raw.name, type=raw.type, internal=raw.internal, arguments=raw.arguments)
    ns = spec.namespace
    undeliverable = names.undeliverable_exchange(ns)
    yield Exchange(name=undeliverable, type="fanout", internal=True)
    yield Exchange(
        name=names.deliver_exchange(ns),
        type="topic",
        internal=True,
        arguments={"alternate-exchange": undeliverable},
    )
    for level in range(spec.levels - 1):
        yield Exchange(name=names.delay_level(ns, level), type="topic", internal=True)
    yield Exchange(name=names.delay_exchange(ns), type="topic")
    yield Exchange(name=names.fail_exchange(ns), type="direct")
    yield Exchange(name=names.events_exchange(ns), type="topic")
    yield Exchange(name=names.control_exchange(ns), type="topic")
    yield Exchange(name=names.jobs_exchange(ns), type="direct")


def _bindings(spec: TopologySpec) -> Iterable[Binding]:
    """From the far end to the near one: publishers get through only when all of it stands."""
    yield from _fail_bindings(spec)
    for queue in _all(spec):
        yield _bind(names.deliver_exchange, names.work_queue, spec, queue.name, queue.name)
        yield _ladder_end(spec, queue, landing=bool(queue.max_length))
    yield from _ladder_bindings(spec)
    for queue in _all(spec):
        for delay in spec.steps_of(queue.name):
            yield Binding(
                source=names.delay_exchange(spec.namespace),
                destination=names.retry_queue(spec.namespace, queue.name, delay),
                routing_key=names.retry_key(queue.name, delay),
            )
    for raw in spec.bindings:
        yield Binding(
            source=raw.source,
            destination=raw.destination,
            routing_key=raw.routing_key,
            to_exchange=raw.to_exchange,
            arguments=raw.arguments,
        )
    for queue in _all(spec):
        yield _bind(names.jobs_exchange, names.work_queue, spec, queue.name, queue.name)


def _fail_bindings(spec: TopologySpec) -> Iterable[Binding]:
    ns = spec.namespace
    fail = names.fail_exchange(ns)
    yield Binding(
        source=names.undeliverable_exchange(ns),
        destination=names.undeliverable_queue(ns),
        routing_key="",
    )
    for kind, queue in (
        ("review", names.review_queue(ns)),
        ("notify", names.notify_queue(ns)),
        ("ignored", names.ignored_queue(ns)),
        ("quarantine", names.quarantine_queue(ns)),
    ):
        yield Binding(source=fail, destination=queue, routing_key=names.fail_key(kind))
    for own in _all(spec):
        if own.review_own:
            review = names.review_queue(ns, own.name)
            key = names.fail_key("review", own.name)
            yield Binding(source=fail, destination=review, routing_key=key)


def _ladder_end(spec: TopologySpec, queue: QueueSpec, *, landing: bool) -> Binding:
    """A full work queue would hold back the whole ladder, so limited ones have a landing queue."""
    place = names.landing_queue if landing else names.work_queue
    key = "*." * names.LEVELS + queue.name
    return _bind(names.deliver_exchange, place, spec, queue.name, key)


def _ladder_bindings(spec: TopologySpec) -> Iterable[Binding]:
    """A job enters at the highest level of its delay; keys have all bits, whatever stands here."""
    namespace = spec.namespace
    for level in range(spec.levels):
        above = names.LEVELS - 1 - level
        queue = names.delay_level(namespace, level)
        if level < spec.levels - 1:
            exchange = names.delay_level(namespace, level)
            yield Binding(source=exchange, destination=queue, routing_key=f"{'*.' * above}1.#")
            yield Binding(
                source=exchange,
                destination=_after_level(namespace, level),
                routing_key=f"{'*.' * above}0.#",
                to_exchange=True,
            )
        yield Binding(
            source=names.delay_exchange(namespace),
            destination=queue,
            routing_key=f"{'0.' * above}1.#",
        )


def _bind(
    source: Callable[[str], str],
    destination: Callable[[str, str], str],
    spec: TopologySpec,
    queue: str,
    key: str,
) -> Binding:
    ns = spec.namespace
    return Binding(source=source(ns), destination=destination(ns, queue), routing_key=key)


def _all(spec: TopologySpec) -> Iterable[QueueSpec]:
    return spec.queues.values()
