"""The least that each role needs on the broker, as RabbitMQ's three patterns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from rabbitjobs.broker.management import Management
from rabbitjobs.errors import TopologyRefused
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
            purpose="the review desk, its intake with the outbox, and the notifier",
            configure=_NOTHING,
            # Releases may be delayed; what the notifier cannot read goes to quarantine.
            write=rf"^{ns}\.(jobs|delay|fail|events)$",
            read=rf"^{ns}\.(review|notify)",
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

    The users must exist; their passwords stay. Returns one line for each. Raises
    `TopologyRefused`, with nothing done, for an unknown role or user, and `ManagementError`.
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
    for name, user in users.items():
        role = known[name]
        management.set_permissions(
            vhost, user, configure=role.configure, write=role.write, read=role.read
        )
        if role.tags:
            management.add_tags(user, role.tags)
    return tuple(f"{user} may now do what a {name} needs" for name, user in users.items())
