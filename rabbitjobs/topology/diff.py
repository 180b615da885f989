"""What would have to change for the live topology to be the planned one: pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import msgspec

from rabbitjobs.topology.live import Live, LiveExchange, LivePolicy, LiveQueue, binding_key
from rabbitjobs.topology.objects import POLICY_PRIORITY, Binding, Exchange, Policy, Queue
from rabbitjobs.topology.plan import Plan

Action = Literal["create", "change", "unbind", "replace", "blocked"]
Kind = Literal["exchange", "queue", "binding", "policy"]

# Placement only: the broker compares neither, and operators set them.
_PLACEMENT: Final = frozenset({"x-quorum-initial-group-size", "x-queue-leader-locator"})


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One difference and what it takes.

    ``create``, ``change`` and ``unbind`` are done by `apply`. ``replace`` (RabbitMQ cannot change
    it in place) and ``blocked`` (somebody else's policy is in the way) are refused; ``advice``
    says what to do then. ``subject`` is the planned thing, where there is one.
    """

    action: Action
    kind: Kind
    name: str
    detail: str = ""
    advice: str = ""
    subject: Exchange | Queue | Binding | Policy | None = None

    def __str__(self) -> str:
        parts = (f"{self.action} {self.kind} {self.name}", self.detail, self.advice)
        return ": ".join(part for part in parts if part)


class Changes(msgspec.Struct, frozen=True):
    """Every difference, in the order in which they are applied."""

    items: tuple[Change, ...]

    def __bool__(self) -> bool:
        return bool(self.items)

    @property
    def refused(self) -> tuple[Change, ...]:
        """What `apply` will not do."""
        return tuple(item for item in self.items if item.action in ("replace", "blocked"))


def diff(plan: Plan, live: Live) -> Changes:
    """Compare; where ``live`` knows nothing of policies and bindings, they are left out."""
    return Changes(
        (
            *(_policies(plan, live) if live.known else ()),
            *(change for e in plan.exchanges for change in _exchange(e, live.exchanges)),
            *(change for q in plan.queues for change in _queue(q, live.queues)),
            *(_bindings(plan, live) if live.known else ()),
        )
    )


def _policies(plan: Plan, live: Live) -> Iterable[Change]:
    for policy in plan.policies:
        yield from _policy(policy, live.policies.get(policy.name))
    ours = {policy.name for policy in plan.policies}
    for stranger in live.policies.values():
        if stranger.name not in ours and (hit := _shadowed(plan, stranger)):
            yield Change(
                action="blocked",
                kind="policy",
                name=stranger.name,
                detail=f"it is not ours, and its priority {stranger.priority} hides our policy "
                f"on {_some(hit)}",
                advice=f"give it a priority below {POLICY_PRIORITY}, or a pattern that "
                "leaves these queues alone",
            )


def _policy(policy: Policy, found: LivePolicy | None) -> Iterable[Change]:
    if found is None:
        yield Change(
            action="create", kind="policy", name=policy.name, detail=_shown(policy), subject=policy
        )
        return
    was = {**found.definition, "priority": found.priority, "pattern": found.pattern}
    wanted = {**policy.definition, "priority": policy.priority, "pattern": policy.pattern}
    was, wanted = {**was, "apply-to": found.apply_to}, {**wanted, "apply-to": policy.apply_to}
    if detail := differences(wanted, was):
        yield Change(
            action="change", kind="policy", name=policy.name, detail=detail, subject=policy
        )


def _shadowed(plan: Plan, stranger: LivePolicy) -> list[str]:
    """The planned queues on which RabbitMQ would take the stranger's policy and not ours."""
    if not stranger.applies_to_queues or stranger.priority < POLICY_PRIORITY:
        return []
    return [policy.name for policy in plan.policies if stranger.matches(policy.name)]


def _exchange(exchange: Exchange, found: Mapping[str, LiveExchange]) -> Iterable[Change]:
    there = found.get(exchange.name)
    if there is None:
        yield Change(
            action="create",
            kind="exchange",
            name=exchange.name,
            detail=exchange.type,
            subject=exchange,
        )
    elif detail := exchange_difference(exchange, there):
        yield Change(
            action="replace",
            kind="exchange",
            name=exchange.name,
            detail=detail,
            advice="RabbitMQ cannot change it in place: stop the publishers, delete the exchange "
            "(its bindings go with it), and apply again",
        )


def exchange_difference(exchange: Exchange, found: LiveExchange) -> str:
    """How the exchange differs from the planned one, in words; empty when it does not."""
    if found.fault or not found.type:
        return found.fault or ""
    was = {"type": found.type, "durable": found.durable, "internal": found.internal}
    wanted = {"type": exchange.type, "durable": True, "internal": exchange.internal}
    return differences({**wanted, **exchange.arguments}, {**was, **found.arguments})


def _queue(queue: Queue, found: Mapping[str, LiveQueue]) -> Iterable[Change]:
    there = found.get(queue.name)
    if there is None:
        kind = str(queue.arguments.get("x-queue-type", ""))
        yield Change(action="create", kind="queue", name=queue.name, detail=kind, subject=queue)
    elif detail := queue_difference(queue, there):
        yield Change(
            action="replace",
            kind="queue",
            name=queue.name,
            detail=detail,
            advice="RabbitMQ cannot change it in place: either go back to what is there, or let "
            "the queue run empty with its publishers stopped, delete it, and apply again; or "
            "give the queue in the config another name and let the old one drain",
        )


def queue_difference(queue: Queue, found: LiveQueue) -> str:
    """How the queue differs from the planned one, in words; empty when it does not."""
    if found.fault or not found.arguments:
        return found.fault or ""
    was = {key: value for key, value in found.arguments.items() if key not in _PLACEMENT}
    wanted = {key: value for key, value in queue.arguments.items() if key not in _PLACEMENT}
    return differences({"durable": True, **wanted}, {"durable": found.durable, **was})


def _bindings(plan: Plan, live: Live) -> Iterable[Change]:
    for binding in plan.bindings:
        if binding_key(binding) not in live.bindings:
            yield Change(
                action="create", kind="binding", name=binding_name(binding), subject=binding
            )
    for binding in plan.unbound:
        if binding_key(binding) in live.bindings:
            yield Change(
                action="unbind",
                kind="binding",
                name=binding_name(binding),
                detail="delayed jobs reach this queue another way now",
                subject=binding,
            )


def binding_name(binding: Binding) -> str:
    """A binding for texts: ``shop.jobs -> shop.q.emails (emails)``."""
    key = re.sub(r"(\*\.){5,}", "*...*.", re.sub(r"(0\.){5,}", "0...0.", binding.routing_key))
    return f"{binding.source} -> {binding.destination}" + (f" ({key})" if key else "")


def differences(wanted: Mapping[str, Any], was: Mapping[str, Any]) -> str:
    """Every key on which the two differ: ``max-length: 5 -> 10``."""
    keys = [key for key in {**wanted, **was} if wanted.get(key) != was.get(key)]
    shown = (f"{key}: {was.get(key, 'none')} -> {wanted.get(key, 'none')}" for key in keys)
    return ", ".join(shown)


def _shown(policy: Policy) -> str:
    return ", ".join(f"{key}: {value}" for key, value in policy.definition.items())


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
