"""The least that each role needs on the broker, as RabbitMQ's three patterns."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from rabbitjobs.topology import names
from rabbitjobs.topology.model import TopologySpec
from rabbitjobs.topology.policies import escape_pattern

# Matches no name: the right is not given.
NOTHING: Final = "^$"


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
        "operator": (
            Need("write", control),
            Need("configure", reply),
            Need("bind", reply, names.events_exchange(ns)),
        ),
        "topology": (Need("configure", ns), Need("bind", ns, names.jobs_exchange(ns))),
    }


def roles(spec: TopologySpec) -> tuple[Role, ...]:
    """The five roles: topology, publisher, worker, reviewer, operator.

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
            configure=NOTHING,
            write=rf"^{ns}\.(jobs|delay)$",
            read=NOTHING,
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
            configure=NOTHING,
            # Releases may be delayed; what the notifier cannot read goes to quarantine.
            write=rf"^{ns}\.(jobs|delay|fail|events)$",
            read=rf"^{ns}\.(review(\..*)?|notify|quarantine|undeliverable)$",
        ),
        Role(
            name="operator",
            purpose="rabbitjobs inspect and control: asks workers, and lists those that are there",
            configure=rf"^{ns}\.reply\.",
            # Nobody else writes to the control exchange: workers answer over that of the events.
            write=rf"^{ns}\.(control$|reply\.)",
            read=rf"^{ns}\.(events$|reply\.)",
            tags=("management",),
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
