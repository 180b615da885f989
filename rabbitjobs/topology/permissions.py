"""The least that each role needs on the broker, as RabbitMQ's three patterns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

import msgspec

from rabbitjobs.broker.management import Management
from rabbitjobs.errors import TopologyRefused
from rabbitjobs.topology import names
from rabbitjobs.topology.model import TopologySpec
from rabbitjobs.topology.policies import escape_pattern

_NOTHING: Final = "^$"


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """What one kind of process may do on the vhost; ``tags`` are for the management API."""

    name: str
    purpose: str
    configure: str
    write: str
    read: str
    tags: tuple[str, ...] = ()


class Need(msgspec.Struct, frozen=True):
    """One right that a role cannot do without.

    To ``bind`` is to write to a queue whose name starts with ``name`` and to read ``source``.
    """

    right: Literal["configure", "write", "read", "bind"]
    name: str
    source: str = ""

    def __str__(self) -> str:
        if self.right == "bind":
            return f"write on {self.name}.* with read on {self.source}"
        own = ".*" if self.right == "configure" else ""
        return f"{self.right} on {self.name}{own}"


def needs(spec: TopologySpec) -> dict[str, tuple[Need, ...]]:
    """What each role has to be allowed, one by one: what `roles` grants, as things to try.

    ``configure`` and ``bind`` are about any queue whose name starts so.
    """
    ns = spec.namespace
    jobs, delay, fail, events = (
        Need("write", make(ns))
        for make in (
            names.jobs_exchange,
            names.delay_exchange,
            names.fail_exchange,
            names.events_exchange,
        )
    )
    control, reply = names.control_exchange(ns), f"{ns}.reply"
    work = (Need("read", names.work_queue(ns, one)) for one in spec.queues)
    own = (one.name for one in spec.queues.values() if one.review_own)
    failures = (
        names.review_queue(ns),
        *(names.review_queue(ns, one) for one in own),
        names.notify_queue(ns),
        names.quarantine_queue(ns),
        names.undeliverable_queue(ns),
    )
    return {
        "publisher": (jobs, delay),
        "worker": (
            *(jobs, delay, fail, events, *work),
            *(Need("configure", control), Need("configure", reply)),
            Need("bind", control, control),
            Need("bind", control, names.events_exchange(ns)),
        ),
        "reviewer": (jobs, delay, fail, events, *(Need("read", one) for one in failures)),
        "topology": (Need("configure", ns), Need("bind", ns, names.jobs_exchange(ns))),
    }


def roles(spec: TopologySpec) -> tuple[Role, ...]:
    """The four roles: topology, publisher, worker, reviewer.

    None but topology reaches another namespace, the default exchange, or a policy. Read also
    allows purging: RabbitMQ does not tell the two apart.
    """
    ns = escape_pattern(spec.namespace)
    everything = _everything(spec, ns)
    own = r"(control|reply)\."
    return (
        Role(
            name="topology",
            purpose="rabbitjobs topology apply: declares, binds, sets policies",
            configure=everything,
            write=everything,
            read=everything,
            tags=("policymaker",),
        ),
        Role(
            name="publisher",
            purpose="services that send jobs",
            configure=_NOTHING,
            write=rf"^{ns}\.(jobs|delay)$",
            read=_NOTHING,
        ),
        Role(
            name="worker",
            purpose="consumers: read work, send what follows, settle failures",
            configure=rf"^{ns}\.{own}",
            write=rf"^{ns}\.((jobs|delay|fail|events)$|{own})",
            # The exchanges are there because binding a queue to one needs read on it.
            read=rf"^{ns}\.(q\.|(control|events)$|{own})",
        ),
        Role(
            name="reviewer",
            purpose="the review desk, its intake with the outbox, the notifier, queue put-back",
            configure=_NOTHING,
            # Releases may be delayed; what the notifier cannot read goes to quarantine.
            write=rf"^{ns}\.(jobs|delay|fail|events)$",
            read=rf"^{ns}\.(review(\..*)?|notify|quarantine|undeliverable)$",
        ),
    )


def _everything(spec: TopologySpec, namespace: str) -> str:
    """The namespace, and those raw objects that stand outside of it."""
    raw = [*(e.name for e in spec.exchanges), *(q.name for q in spec.raw_queues)]
    raw += [end for b in spec.bindings for end in (b.source, b.destination)]
    outside = sorted({name for name in raw if not name.startswith(f"{spec.namespace}.")})
    if not outside:
        return rf"^{namespace}\."
    others = "|".join(escape_pattern(name) for name in outside)
    return rf"^({namespace}\.|({others})$)"


def grant(
    management: Management, vhost: str, spec: TopologySpec, users: Mapping[str, str]
) -> tuple[str, ...]:
    """Give each role in ``users`` (role: user name) its rights on ``vhost``; needs administrator.

    They replace what a user had on the vhost; a user of several roles gets the rights of all. Open
    channels keep what they had. The users must exist; their passwords stay. Returns one line for
    each. Raises `TopologyRefused`, with nothing done, for an unknown role or user, and
    `ManagementError`.
    """
    known = {role.name: role for role in roles(spec)}
    there = {user["name"] for user in management.users()}
    if unknown := sorted(set(users) - set(known)):
        raise TopologyRefused(f"expected the roles {', '.join(known)}, got {', '.join(unknown)}")
    if missing := sorted(set(users.values()) - there):
        raise TopologyRefused(
            f"expected users that exist, got {', '.join(missing)}; create them first "
            "(rabbitmqctl add_user NAME), or name others (--user ROLE=NAME)"
        )
    for user in dict.fromkeys(users.values()):
        taken = [known[name] for name, one in users.items() if one == user]
        management.set_permissions(
            vhost,
            user,
            configure=_either(role.configure for role in taken),
            write=_either(role.write for role in taken),
            read=_either(role.read for role in taken),
        )
        if tags := tuple(tag for role in taken for tag in role.tags):
            management.add_tags(user, tags)
    return tuple(f"{user} may now do what a {name} needs" for name, user in users.items())


def _either(patterns: Iterable[str]) -> str:
    """One pattern for all roles of a user: RabbitMQ keeps one for each right."""
    wanted = [one for one in dict.fromkeys(patterns) if one != _NOTHING]
    return "|".join(wanted) or _NOTHING
