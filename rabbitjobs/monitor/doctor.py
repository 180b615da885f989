"""doctor's checks: facts in, what is well and what is not out, each with what to do. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal

from rabbitjobs.clock import format_duration
from rabbitjobs.monitor.facts import EFFECTIVE, MISSING, BrokerFacts, StoreFacts
from rabbitjobs.monitor.rights import FORBIDDEN, lacking
from rabbitjobs.topology import names
from rabbitjobs.topology.model import QueueSpec, TopologySpec
from rabbitjobs.topology.permissions import needs
from rabbitjobs.topology.plan import Plan
from rabbitjobs.topology.timeouts import Limits, asked_timeout, longest_of

_LET_IN = "mend broker.url or RABBITJOBS_URL, or make the user: `rabbitjobs topology permissions`"
_APPLY_FIRST = (
    "apply first: `rabbitjobs topology apply`; if that changes nothing, another policy is in the "
    "way: `rabbitjobs topology drift`"
)
_QUARANTINED = "cannot be read, lack a valid signature, or name a job nobody knows"
State = Literal["ok", "warn", "fail"]

# RabbitMQ's own default, in force wherever neither node, policy nor queue says otherwise.
BROKERS_TIMEOUT: Final = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: how it is, in words, and what to do about it."""

    name: str
    state: State
    text: str
    do: str = ""


def diagnose(
    spec: TopologySpec,
    broker: BrokerFacts,
    store: StoreFacts,
    limits: Mapping[str, Limits] | None = None,
    roles: Collection[str] = (),
) -> list[Check]:
    """Every check, in the order in which a person would mend things.

    ``limits`` holds, by queue of the config, the hard limits of all its jobs. ``roles`` are what
    this user is for; without them any role will do.
    """
    checks = [*_reached(broker), *_store(store)]
    if broker.error:
        return checks
    checks += [*_version(broker), *_management(broker), *_alarms(broker)]
    if broker.plan is not None:
        checks += [*_topology(broker.plan, broker), *_rights(spec, broker, roles)]
        checks += [*_timeouts(spec, broker, limits or {}), *_consumers(broker.plan, broker)]
        checks += [*_left_over(spec, broker)]
    return [*checks, *_dead_letters(spec, broker), *_dead_letter_pause(broker)]


def worst(checks: Iterable[Check]) -> State:
    """The worst state among ``checks``."""
    found = {check.state for check in checks}
    return "fail" if "fail" in found else "warn" if "warn" in found else "ok"


def _reached(broker: BrokerFacts) -> Iterable[Check]:
    if broker.access_refused:
        yield Check("broker", "fail", broker.error, _LET_IN)
    elif broker.error:
        yield Check(
            "broker",
            "fail",
            f"cannot be reached: {broker.error}",
            "start it (`rabbitjobs broker start` for a private one), or mend broker.url",
        )
    else:
        yield Check("broker", "ok", f"{broker.address} answers")


def _store(store: StoreFacts) -> Iterable[Check]:
    if store.error:
        yield Check(
            "store",
            "fail",
            store.error,
            "nothing is acked until the store can be used: mend store.url, or start the database",
        )
    elif store.missing:
        yield Check(
            "store",
            "warn",
            store.missing,
            "correct store.url; if nothing has run here yet, the first worker makes it",
        )
    elif not store.where:
        yield Check(
            "store",
            "warn",
            "none: no results, no review desk, and a job that runs twice is recorded twice",
            "set store.url unless that is meant",
        )
    elif store.one_machine:
        yield Check(
            "store",
            "warn",
            f"{store.where} is SQLite: it serves the processes of this one machine only",
            "set store.url to PostgreSQL before workers run on a second machine",
        )
    else:
        yield Check("store", "ok", f"{store.where} can be used")


def _version(broker: BrokerFacts) -> Iterable[Check]:
    capabilities = broker.capabilities
    if broker.version_error or capabilities is None:
        yield Check("version", "fail", broker.version_error, "connect to RabbitMQ 3.10 or newer")
        return
    version = f"RabbitMQ {capabilities.version}"
    if not capabilities.lacks:
        yield Check("version", "ok", f"{version} gives all that rabbitjobs uses")
    for lack in capabilities.lacks:
        yield Check("version", "warn", f"{version}: {lack}", "upgrade to RabbitMQ 4.3")
    if broker.plan_error:
        yield Check("version", "fail", broker.plan_error, "accept the loss, or upgrade the broker")


def _management(broker: BrokerFacts) -> Iterable[Check]:
    if broker.management_error:
        yield Check(
            "management",
            "warn",
            f"{broker.management_error}: alarms, dead-letter targets and policies are not checked",
            "enable rabbitmq_management, set broker.management_url, give the user a tag",
        )


def _alarms(broker: BrokerFacts) -> Iterable[Check]:
    for alarm in broker.alarms:
        yield Check(
            "alarms",
            "fail",
            f"{alarm}: nothing can be published, while consuming and acks go on",
            "free memory or disk on that node",
        )
    if not broker.alarms and not broker.management_error:
        yield Check("alarms", "ok", "no memory or disk alarm")


def _topology(plan: Plan, broker: BrokerFacts) -> Iterable[Check]:
    faults = {name: seen.fault for name, seen in broker.queues.items()} | dict(broker.exchanges)
    missing = sorted(name for name, fault in faults.items() if fault == MISSING)
    hidden = sorted(name for name, fault in faults.items() if fault == FORBIDDEN)
    if missing:
        yield Check(
            "topology",
            "fail",
            f"{len(missing)} of {len(faults)} objects do not exist: {_some(missing)}",
            "run `rabbitjobs topology apply`",
        )
    elif hidden:
        seen = len(faults) - len(hidden)
        yield Check("topology", "ok", f"all {seen} queues and exchanges that this user sees exist")
    else:
        yield Check("topology", "ok", f"all {len(faults)} queues and exchanges exist")


def _rights(spec: TopologySpec, broker: BrokerFacts, roles: Collection[str]) -> Iterable[Check]:
    if not broker.rights:
        return
    lacks = lacking(spec, broker.rights, broker.tags)
    complete = [name for name, missing in lacks.items() if not missing]
    if roles:
        meant = [name for name in lacks if name in roles]
    elif complete:
        meant = [name for name, missing in lacks.items() if 2 * len(missing) < _wanted(spec, name)]
    else:  # the one that this user comes nearest to
        meant = [min(lacks, key=lambda name: len(lacks[name]) / _wanted(spec, name))]
    shown = [name for name in complete if name in meant]
    if shown:
        text = f"user {broker.user} has what it takes to be a {', a '.join(shown)}"
        yield Check("permissions", "ok", text)
    granting = _granting(spec, broker.user, meant, complete)
    for name in meant:
        if name not in shown:
            yield Check(
                "permissions",
                "warn" if shown else "fail",
                f"user {broker.user} lacks, to be a {name}: {'; '.join(lacks[name])}",
                granting,
            )


def _granting(
    spec: TopologySpec, user: str, meant: Collection[str], complete: Collection[str]
) -> str:
    """One command for all that this user is: RabbitMQ keeps one set of rights for each.

    Of what it has, that which another role covers is left out; and topology, which covers all:
    whoever lacks a right has not got it, whatever the few rights say that topology is tried by.
    """
    has = [name for name in complete if name != "topology" and "topology" not in meant]
    wanted = {name: set(needs(spec)[name]) for name in needs(spec) if name in (*meant, *has)}
    named = [
        shlex.quote(f"{name}={user}")
        for name, mine in wanted.items()
        if name not in complete or not any(mine < other for other in wanted.values())
    ]
    return " --user ".join(("rabbitjobs topology permissions --apply", *named))


def _wanted(spec: TopologySpec, role: str) -> int:
    return len(needs(spec)[role])


def _timeouts(
    spec: TopologySpec, broker: BrokerFacts, limits: Mapping[str, Limits]
) -> Iterable[Check]:
    for queue in spec.queues.values():
        timeout, source = _timeout(spec, queue, broker)
        known = limits.get(queue.name, ())
        limit = longest_of(known) or queue.time_limit
        asked = asked_timeout(queue, known)
        if asked is not None and _asks(broker):
            timeout, source = asked, "as its consumers ask, by the hard limits of their jobs"
        shown = f"queue {queue.name}: a delivery is taken back after {_said(timeout)} ({source})"
        wanted = _wanted_timeout(queue, broker)
        if limit is not None and limit >= timeout:
            shown = (
                f"{shown}, but its jobs may run for {_said(limit)}: they would start over and over"
            )
            if wanted is None or wanted <= limit:
                do = f"set consumer_timeout above {_said(limit)} on the queue, or limit the jobs"
            else:
                do = _APPLY_FIRST
            yield Check("consumer timeout", "fail", shown, do)
        elif wanted is not None and timeout < wanted:
            shown = f"{shown}, not after {_said(wanted)}, as the config wants"
            yield Check("consumer timeout", "fail", shown, _APPLY_FIRST)
        elif limit is None:
            yield Check(
                "consumer timeout", "ok", f"{shown}; a job that runs longer is delivered again"
            )
        else:
            text = f"{shown}, and its jobs are to take {_said(limit)} at most"
            yield Check("consumer timeout", "ok", text)


def _timeout(spec: TopologySpec, queue: QueueSpec, broker: BrokerFacts) -> tuple[timedelta, str]:
    live = broker.live_queues.get(names.work_queue(spec.namespace, queue.name), {})
    found = _effective(live, "consumer-timeout")
    if isinstance(found, int):
        return timedelta(milliseconds=found), "the queue's effective policy or argument"
    wanted = _wanted_timeout(queue, broker)
    if wanted is not None and EFFECTIVE not in live:
        return wanted, "as configured; whether that was applied cannot be seen from here"
    return BROKERS_TIMEOUT, "RabbitMQ's default; the node's own setting cannot be seen from here"


def _asks(broker: BrokerFacts) -> bool:
    """Whether a consumer may name a timeout of its own on this broker."""
    return broker.capabilities is not None and broker.capabilities.consumer_timeout == "consumer"


def _wanted_timeout(queue: QueueSpec, broker: BrokerFacts) -> timedelta | None:
    """What the config wants of this broker; ``None``: nothing, or only the node can be set."""
    capabilities = broker.capabilities
    settable = capabilities is not None and capabilities.consumer_timeout != "node"
    return queue.wanted_timeout if settable else None


def _consumers(plan: Plan, broker: BrokerFacts) -> Iterable[Check]:
    spec = plan.spec
    roles = {names.work_queue(spec.namespace, one): f"consume {one}" for one in spec.queues}
    roles[names.notify_queue(spec.namespace)] = "notify run"
    reviews = [spec.namespace, *(one.name for one in spec.queues.values() if one.review_own)]
    roles[names.review_queue(spec.namespace)] = "intake"
    roles |= {names.review_queue(spec.namespace, one): "intake" for one in reviews[1:]}
    known = {name: broker.queues[name] for name in roles if name in broker.queues}
    seen = {name: one for name, one in known.items() if not one.fault}
    hidden = sum(one.fault == FORBIDDEN for one in known.values())
    idle = {name: one for name, one in seen.items() if not one.consumers}
    for name, one in idle.items():
        yield Check(
            "consumers",
            "warn",
            f"{name} has no consumer, and {one.ready:,} messages wait",
            f"run `rabbitjobs {roles[name]}`, or `rabbitjobs run` for all roles",
        )
    if seen and not idle:
        yield Check("consumers", "ok", f"each of {len(seen)} queues that need a consumer has one")
    if hidden:
        yield Check(
            "consumers",
            "ok",
            f"not checked for {hidden} of {len(known)} queues that need one: "
            "this user may not see them",
        )


def _left_over(spec: TopologySpec, broker: BrokerFacts) -> Iterable[Check]:
    for name, meaning in (
        (names.quarantine_queue(spec.namespace), _QUARANTINED),
        (names.undeliverable_queue(spec.namespace), "fell due when their queue was gone"),
    ):
        seen = broker.queues.get(name)
        if seen is not None and seen.ready:
            yield Check(
                "held",
                "warn",
                f"{name} holds {seen.ready:,} messages that {meaning}",
                f"look at them: `rabbitjobs queue peek {name} --yes`",
            )


def _dead_letters(spec: TopologySpec, broker: BrokerFacts) -> Iterable[Check]:
    ours = {
        name: queue
        for name, queue in broker.live_queues.items()
        if name.startswith(f"{spec.namespace}.") or name in {raw.name for raw in spec.raw_queues}
    }
    faults = [
        (name, fault) for name, queue in ours.items() if (fault := _target_fault(queue, broker))
    ]
    for name, fault in faults:
        yield Check(
            "dead letters",
            "fail",
            f"{name} sends its dead letters to {fault}: they are held there, or lost",
            "run `rabbitjobs topology apply`, or declare the target",
        )
    if ours and not faults:
        yield Check("dead letters", "ok", f"the targets of all {len(ours)} queues exist")


def _target_fault(queue: Mapping[str, Any], broker: BrokerFacts) -> str:
    exchange = _effective(queue, "dead-letter-exchange")
    # The empty name is the default exchange: its target is a queue of the key's name.
    if not isinstance(exchange, str):
        return ""
    key = str(_effective(queue, "dead-letter-routing-key") or "")
    if not exchange:
        return "" if not key or key in broker.live_queues else f"the missing queue {key}"
    kind = broker.live_exchanges.get(exchange)
    if kind is None:
        return f"the missing exchange {exchange}"
    if kind == "direct" and key and (exchange, key) not in broker.live_bindings:
        return f"the exchange {exchange}, where nothing is bound for the key {key}"
    return ""


def _effective(queue: Mapping[str, Any], key: str) -> Any:
    """What holds for a queue: a policy's value where there is one, else the argument's.

    RabbitMQ lets an argument win over a policy except for limits, where the lower wins; a
    consumer timeout counts as one here.
    """
    argument = (queue.get("arguments") or {}).get(f"x-{key}")
    policy = (queue.get(EFFECTIVE) or {}).get(key)
    if isinstance(argument, int) and isinstance(policy, int):
        return min(argument, policy)
    return policy if argument is None else argument


def _dead_letter_pause(broker: BrokerFacts) -> Iterable[Check]:
    if broker.private:
        yield Check("dead-letter pause", "ok", "5s on this private node")
        return
    yield Check(
        "dead-letter pause",
        "warn",
        "a dead letter that its target refuses (a full queue) is tried again after 3m by default, "
        "and holds others back meanwhile; the node's setting cannot be seen from here",
        "set {rabbit, [{dead_letter_worker_publisher_confirm_timeout, 5000}]} in advanced.config",
    )


def _said(duration: timedelta) -> str:
    return format_duration(duration)


def _some(found: list[str]) -> str:
    return ", ".join(found[:4]) + (f" and {len(found) - 4} more" if len(found) > 4 else "")
