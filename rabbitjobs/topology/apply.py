"""Make the broker hold what the plan says, or refuse before anything is touched."""

from __future__ import annotations

from collections.abc import Mapping

from rabbitjobs.broker.management import Management
from rabbitjobs.errors import (
    ChannelClosed,
    ManagementError,
    TopologyMismatch,
    TopologyRefused,
)
from rabbitjobs.topology.amqp import Amqp, connect
from rabbitjobs.topology.diff import Change, Changes, diff
from rabbitjobs.topology.live import Live, look_live, probe_live, read_live
from rabbitjobs.topology.objects import Binding, Exchange, Policy, Queue
from rabbitjobs.topology.plan import Plan
from rabbitjobs.topology.timeouts import Limits, too_short, unserved


def plan_changes(plan: Plan, *, amqp_url: str, management: Management | None) -> Changes:
    """What `apply` would do, without doing it; the refused changes are among them.

    Without ``management`` nothing is known of policies and bindings, and they are left out.
    Raises `ConnectionLost`, `ManagementError`, or `ChannelClosed` (403) without enough rights.
    """
    with connect(amqp_url) as amqp:
        return diff(plan, _live(plan, amqp, management))


def apply(
    plan: Plan,
    *,
    amqp_url: str,
    management: Management | None,
    without_policies: bool = False,
) -> Changes:
    """Make everything that ``plan`` says stand on the broker; no queue is ever deleted.

    Returns what was created or changed: empty when all of it stood already. What cannot be
    changed in place is found before anything is declared and raises `TopologyRefused` with what
    to do. Without ``management`` no policy can be set: that is refused too, unless
    ``without_policies`` accepts that delivery limits, lengths and lifetimes are the broker's own.
    Stopped half-way by an outage, a second call completes it: publishers are bound last.
    """
    if management is None and not without_policies:
        raise TopologyRefused(_no_policies(plan))
    with connect(amqp_url) as amqp:
        _check_version(plan, amqp)
        live = _live(plan, amqp, management)
        changes = diff(plan, live)
        if changes.refused:
            raise TopologyRefused(_refusal(changes))
        _Doer(plan, amqp, management).do(changes, live)
    return changes


def verify(
    plan: Plan, *, amqp_url: str, management: Management | None = None, queue: str | None = None
) -> None:
    """Check passively that the live topology is the plan's; workers call this when they start.

    ``queue`` (its name in the config) narrows the check to what its worker needs. With a
    ``management`` API that answers, arguments, bindings and policies are compared; otherwise only
    what AMQP tells passively: that everything is there. Raises `TopologyMismatch` with every
    difference shown, also when the consumer timeout in effect is shorter than a queue's time
    limit, or `ConnectionLost`.
    """
    with connect(amqp_url) as amqp:
        verify_over(amqp, plan, management=management, queue=queue)


def verify_over(
    amqp: Amqp,
    plan: Plan,
    *,
    management: Management | None = None,
    queue: str | None = None,
    limits: Mapping[str, Limits] | None = None,
) -> None:
    """`verify` over a connection that is there.

    ``limits`` are the hard limits of all jobs of each queue that is to be consumed.
    """
    needed = needed_by(plan, queue) if queue is not None else plan
    live = _reachable(amqp, management) or look_live(amqp, needed)
    changes = diff(needed, live)
    if changes:
        raise TopologyMismatch(_mismatch(changes), queue=queue)
    if short := (*too_short(needed, live), *unserved(needed, limits or {})):
        raise TopologyMismatch("\n".join(short), queue=queue)


def needed_by(plan: Plan, queue: str) -> Plan:
    """The part of a plan that the worker of one queue relies on: other queues' own are left out."""
    others = {q.name for q in plan.queues if q.of not in (None, queue) or q.role == "raw"}

    def kept(bindings: tuple[Binding, ...]) -> tuple[Binding, ...]:
        return tuple(b for b in bindings if b.destination not in others)

    raw = {exchange.name for exchange in plan.spec.exchanges}
    return Plan(
        spec=plan.spec,
        capabilities=plan.capabilities,
        exchanges=tuple(e for e in plan.exchanges if e.name not in raw),
        queues=tuple(q for q in plan.queues if q.name not in others),
        bindings=tuple(b for b in kept(plan.bindings) if b.source not in raw),
        policies=tuple(p for p in plan.policies if p.name not in others),
        unbound=kept(plan.unbound),
    )


class _Doer:
    def __init__(self, plan: Plan, amqp: Amqp, management: Management | None) -> None:
        self._plan = plan
        self._amqp = amqp
        self._management = management

    def do(self, changes: Changes, live: Live) -> None:
        """Carry out the changes in their order: a queue must never stand without its limits."""
        for change in changes.items:
            try:
                self._do(change)
            except ChannelClosed as error:
                raise TopologyRefused(
                    f"{change.kind} {change.name}: expected RabbitMQ to take it, got "
                    f"{error.code} {error.text}; correct that and apply again"
                ) from error
        if not live.known:
            self._bind_blindly()

    def _do(self, change: Change) -> None:
        match change.subject:
            case Policy() as policy:
                self._set_policy(policy)
            case Exchange() as exchange:
                self._amqp.declare_exchange(exchange)
            case Queue() as queue:
                self._amqp.declare_queue(queue)
            case Binding() as binding if change.action == "unbind":
                self._amqp.unbind(binding)
            case Binding() as binding:
                self._amqp.bind(binding)
            case None:
                pass

    def _set_policy(self, policy: Policy) -> None:
        if self._management is not None:
            self._management.set_policy(
                self._amqp.address.vhost,
                policy.name,
                pattern=policy.pattern,
                definition=policy.definition,
                priority=policy.priority,
                apply_to=policy.apply_to,
            )

    def _bind_blindly(self) -> None:
        """AMQP cannot list bindings, but making one twice or removing none does no harm."""
        for binding in self._plan.bindings:
            self._amqp.bind(binding)
        for binding in self._plan.unbound:
            if self._amqp.has_queue(binding.destination):
                self._amqp.unbind(binding)


def _live(plan: Plan, amqp: Amqp, management: Management | None) -> Live:
    if management is None:
        try:
            return probe_live(amqp, plan)
        except ChannelClosed as error:
            raise TopologyRefused(
                f"expected the right to declare, got {error.code} {error.text}; apply as the "
                "topology user: `rabbitjobs topology permissions` shows its rights"
            ) from error
    return read_live(management, amqp.address.vhost)


def _reachable(amqp: Amqp, management: Management | None) -> Live | None:
    try:
        return read_live(management, amqp.address.vhost) if management else None
    except ManagementError:
        return None


def _check_version(plan: Plan, amqp: Amqp) -> None:
    there = amqp.capabilities
    if there.generation != plan.capabilities.generation:
        raise TopologyRefused(
            f"expected RabbitMQ {plan.capabilities.generation}, which this plan was made for, got "
            f"{there.version}; compile the plan for the connected broker"
        )


def _no_policies(plan: Plan) -> str:
    limits = sorted({key for policy in plan.policies for key in policy.definition})
    return (
        f"expected the management API, without which no broker policy can be set, got none; "
        f"{len(plan.policies)} policies with {', '.join(limits)} would be missing. Enable the "
        "plugin rabbitmq_management and set RABBITJOBS_MANAGEMENT_URL, or accept the loss "
        "(--without-policies)"
    )


def _refusal(changes: Changes) -> str:
    lines = "\n".join(f"  {change}" for change in changes.refused)
    return (
        f"expected changes that RabbitMQ can make in place, got these; nothing was done:\n{lines}"
    )


def _mismatch(changes: Changes) -> str:
    lines = "\n".join(f"  {change}" for change in changes.items[:20])
    more = f"\n  and {len(changes.items) - 20} more" if len(changes.items) > 20 else ""
    return (
        "expected the broker to hold the config's topology, got these differences; run "
        f"`rabbitjobs topology plan`, then `apply`:\n{lines}{more}"
    )
