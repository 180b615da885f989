"""Where the live broker is no longer what the config says, strangers' doings included: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import msgspec

from rabbitjobs.topology import names
from rabbitjobs.topology.diff import Change, diff, differences
from rabbitjobs.topology.live import Live, LivePolicy, LiveQueue, binding_key
from rabbitjobs.topology.plan import Plan
from rabbitjobs.topology.policies import exact_pattern

# Queues that live and die with a process; they are in no plan.
_PASSING: Final = ("reply.", "control.")


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that `drift` found.

    ``differs``: a guarantee may not hold. ``left over``: the config no longer has it; it does no
    harm, and rabbitjobs never deletes a queue.
    """

    kind: Literal["differs", "left over"]
    name: str
    detail: str
    advice: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}: {self.detail}; {self.advice}"


def find_drift(plan: Plan, live: Live) -> tuple[Finding, ...]:
    """Compare a plan with a picture taken through the management API, the worst first."""
    return (
        *(_of_change(change) for change in diff(plan, live).items),
        *_effective(plan, live),
        *_stray_bindings(plan, live),
        *left_over(plan, live),
    )


def _of_change(change: Change) -> Finding:
    return Finding(
        kind="differs",
        name=f"{change.kind} {change.name}",
        detail=_verb(change) + (f" ({change.detail})" if change.detail else ""),
        advice=change.advice or "run: rabbitjobs topology apply",
    )


def _verb(change: Change) -> str:
    return {
        "create": "it is missing",
        "change": "it was changed",
        "unbind": "it should not be there",
        "replace": "it is another one than the config's",
        "blocked": "it takes our policy's place",
    }[change.action]


def _effective(plan: Plan, live: Live) -> Iterable[Finding]:
    """What counts is the policy in effect, and an operator's values cut into that as well."""
    for policy in plan.policies:
        queue = live.queues.get(policy.name)
        if queue is None or policy.name not in live.policies:
            continue
        if detail := _not_ours(live.policies[policy.name], queue, live.operator_policies):
            yield Finding(
                kind="differs",
                name=f"queue {policy.name}",
                detail=detail,
                advice="change or remove that policy, then look again",
            )


def _not_ours(ours: LivePolicy, queue: LiveQueue, operators: Iterable[LivePolicy]) -> str:
    """What keeps our policy, as it stands on the broker, from being what counts for its queue."""
    if queue.policy != ours.name:
        return f"the policy in effect is {queue.policy or 'none'}, not ours"
    name, theirs = overriding(queue, operators)
    changed = differences(ours.definition, {**ours.definition, **theirs})
    if not changed:
        return ""
    who = f"the operator policy {name} overrides ours" if name else "ours is not what counts yet"
    return f"{who} (in effect -> ours): {changed}"


def overriding(
    queue: LiveQueue, operators: Iterable[LivePolicy]
) -> tuple[str | None, Mapping[str, Any]]:
    """The values in effect and the operator policy's name, where the broker tells them; else the
    values of the operator policy whose pattern fits."""
    if queue.effective:
        return queue.operator_policy, queue.effective
    fitting = [p for p in operators if p.applies_to_queues and p.matches(queue.name)]
    top = max(fitting, key=lambda p: p.priority, default=None)
    return (top.name, top.definition) if top else (None, {})


def _stray_bindings(plan: Plan, live: Live) -> Iterable[Finding]:
    """A binding of somebody else's on these exchanges turns "unroutable" into "confirmed"."""
    guarded = {
        names.jobs_exchange(plan.spec.namespace),
        names.delay_exchange(plan.spec.namespace),
        names.deliver_exchange(plan.spec.namespace),
        names.fail_exchange(plan.spec.namespace),
    }
    known = {binding_key(binding) for binding in (*plan.bindings, *plan.unbound)}
    planned = {queue.name for queue in plan.queues}
    for source, destination, kind, key, _ in sorted(live.bindings - known):
        ours = destination.startswith(f"{plan.spec.namespace}.") and destination not in planned
        if source in guarded and not ours:
            yield Finding(
                kind="differs",
                name=f"binding {source} -> {kind} {destination} ({key})",
                detail="it is not ours: jobs may go astray, or be confirmed without a reader",
                advice="unbind it",
            )


def left_over(plan: Plan, live: Live) -> Iterable[Finding]:
    """What stands in the plan's namespace and is not in the plan, with what waits in it."""
    prefix = f"{plan.spec.namespace}."
    planned = {queue.name for queue in plan.queues}
    old = [name for name in sorted(live.queues) if _is_ours(name, prefix) and name not in planned]
    for name in old:
        waiting = live.queues[name].messages
        count = "an unknown number of" if waiting is None else waiting
        advice = (
            "it can be deleted" if waiting == 0 else "leave it until it is empty, then delete it"
        )
        yield Finding(
            kind="left over",
            name=f"queue {name}",
            detail=f"the config no longer has it; {count} messages wait in it",
            advice=advice,
        )
    yield from _old_exchanges(plan, live, prefix)
    yield from _old_policies(plan, live.queues, live, prefix)


def _is_ours(name: str, prefix: str) -> bool:
    return name.startswith(prefix) and not name.removeprefix(prefix).startswith(_PASSING)


def _old_exchanges(plan: Plan, live: Live, prefix: str) -> Iterable[Finding]:
    planned = {exchange.name for exchange in plan.exchanges}
    for name in sorted(set(live.exchanges) - planned):
        if name.startswith(prefix):
            yield Finding(
                kind="left over",
                name=f"exchange {name}",
                detail="the config no longer has it",
                advice="it can be deleted once nobody publishes there",
            )


def _old_policies(
    plan: Plan, queues: Mapping[str, LiveQueue], live: Live, prefix: str
) -> Iterable[Finding]:
    planned = {policy.name for policy in plan.policies}
    for policy in live.policies.values():
        ours = policy.name.startswith(prefix) and policy.pattern == exact_pattern(policy.name)
        if ours and policy.name not in planned and policy.name not in queues:
            yield Finding(
                kind="left over",
                name=f"policy {policy.name}",
                detail="its queue is gone",
                advice="it can be deleted",
            )
