"""What doctor and the queue commands know: facts of broker and store, taken without a trace."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rabbitjobs.broker.management import Management
from rabbitjobs.broker.url import Address
from rabbitjobs.broker.version import REFERENCE, Capabilities, from_properties
from rabbitjobs.errors import (
    AccessRefused,
    BrokerError,
    ChannelClosed,
    ConnectionLost,
    RabbitJobsError,
    StoreMissing,
    TopologyRefused,
)
from rabbitjobs.monitor.rights import TIMEOUT, try_rights
from rabbitjobs.topology.model import TopologySpec
from rabbitjobs.topology.permissions import Need
from rabbitjobs.topology.plan import Plan, compile_plan
from rabbitjobs.wire.pika import PikaWire
from rabbitjobs.wire.protocol import Wire

if TYPE_CHECKING:
    from rabbitjobs.store.engine import Store

MISSING = 404
EFFECTIVE = "effective_policy_definition"
"""Of a live queue: the values of the policies in effect. Not there where they cannot be seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSeen:
    """One planned queue: what AMQP tells of it, or ``fault`` (404: not there, 403: no right)."""

    ready: int = 0
    consumers: int = 0
    fault: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerFacts:
    """A broker as one user sees it. ``error`` is set when it could not be reached at all, or
    (``access_refused``) does not let this user in.

    ``queues`` and ``exchanges`` are the planned ones (a fault code for an exchange, 0: there).
    ``rights`` says of what the roles need whether this user may do it, as ``user``; empty if it
    was not tried. What only the management API tells (``live_*``, ``alarms``) is empty with
    ``management_error`` set; ``tags`` is ``None`` where it did not answer as this user.
    """

    address: str
    error: str = ""
    access_refused: bool = False
    version_error: str = ""
    capabilities: Capabilities | None = None
    plan: Plan | None = None
    plan_error: str = ""
    queues: Mapping[str, QueueSeen] = field(default_factory=dict)
    exchanges: Mapping[str, int] = field(default_factory=dict)
    user: str = ""
    rights: Mapping[Need, bool] = field(default_factory=dict)
    tags: frozenset[str] | None = None
    private: bool = False
    management_error: str = ""
    alarms: tuple[str, ...] = ()
    live_queues: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    live_exchanges: Mapping[str, str] = field(default_factory=dict)
    live_bindings: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFacts:
    """The store, if there is one: where, and why it cannot be used.

    ``missing`` is set for a SQLite file that nobody has made yet (or whose path is mistyped).
    """

    where: str = ""
    one_machine: bool = False
    error: str = ""
    missing: str = ""


async def look(
    addresses: Sequence[Address],
    spec: TopologySpec,
    management: Management | None,
    *,
    private: bool = False,
    rights: bool = False,
) -> BrokerFacts:
    """Take the facts of the first broker that answers. Never raises for what it finds.

    Nothing is left behind. With ``rights`` they are tried one by one.
    """
    wire, address, errors = await _open(addresses)
    if wire is None:
        return BrokerFacts(
            address=str(address),
            error="; ".join(error.text for error in errors),
            access_refused=any(isinstance(error, AccessRefused) for error in errors),
        )
    try:
        found = await _ask(wire, spec, rights=rights)
    finally:
        await wire.close()
    return BrokerFacts(
        address=str(address),
        user=address.user,
        private=private,
        **found,
        **await asyncio.to_thread(_manage, management, address),
    )


async def _open(addresses: Sequence[Address]) -> tuple[Wire | None, Address, list[BrokerError]]:
    errors: list[BrokerError] = []
    for address in addresses:
        wire = PikaWire()
        try:
            async with asyncio.timeout(TIMEOUT):
                await wire.open(address, name="rabbitjobs doctor")
        except TimeoutError:
            errors.append(ConnectionLost(f"{address}: no answer within {TIMEOUT:g} s"))
        except BrokerError as error:
            errors.append(error)
        else:
            return wire, address, []
    return None, addresses[-1], errors


async def _ask(wire: Wire, spec: TopologySpec, *, rights: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    try:
        found["capabilities"] = from_properties(wire.server)
    except BrokerError as error:
        found["version_error"] = error.text
    try:
        plan = compile_plan(spec, found.get("capabilities") or REFERENCE)
    except TopologyRefused as error:
        return {**found, "plan_error": error.text}
    exchanges = {one.name: await _exchange(wire, one.name) for one in plan.exchanges}
    return {
        **found,
        "plan": plan,
        "exchanges": exchanges,
        "queues": {one.name: await inspect(wire, one.name) for one in plan.queues},
        "rights": await try_rights(wire, spec) if rights else {},
    }


async def inspect(wire: Wire, queue: str) -> QueueSeen:
    """What a passive declare tells of a queue: ready messages and consumers, right now."""
    try:
        ready, consumers = await wire.inspect_queue(queue)
    except ChannelClosed as error:
        return QueueSeen(fault=error.code)
    return QueueSeen(ready=ready, consumers=consumers)


async def _exchange(wire: Wire, name: str) -> int:
    try:
        await wire.inspect_exchange(name)
    except ChannelClosed as error:
        return error.code
    return 0


def _manage(management: Management | None, address: Address) -> dict[str, Any]:
    if management is None:
        return {"management_error": "no management API is configured"}
    vhost = address.vhost
    try:
        return {
            "tags": management.whoami() if management.user == address.user else None,
            "alarms": management.alarms(),
            "live_queues": _queues(management, vhost),
            "live_exchanges": {
                str(one["name"]): str(one["type"]) for one in management.exchanges(vhost)
            },
            "live_bindings": frozenset(
                (str(one["source"]), str(one["routing_key"])) for one in management.bindings(vhost)
            ),
        }
    except BrokerError as error:
        return {"management_error": error.text}


def _queues(management: Management, vhost: str) -> dict[str, dict[str, Any]]:
    """The queues with the values of their policies; before 4.3 RabbitMQ tells the name only."""
    found = {str(queue["name"]): queue for queue in management.queues(vhost, totals=True)}
    if all(EFFECTIVE in queue for queue in found.values()):
        return found
    try:
        policies = {None: {}} | {
            one["name"]: one["definition"] for one in management.policies(vhost)
        }
    except BrokerError:  # it takes the tag policymaker
        policies = {None: {}}
    for queue in found.values():
        policy = queue.get("policy") or None
        if EFFECTIVE not in queue and policy in policies:
            queue[EFFECTIVE] = policies[policy]
    return found


def look_at_store(store: Store | None) -> StoreFacts:
    """Take the facts of the store; a SQLite file that is not there is not made."""
    if store is None:
        return StoreFacts()
    try:
        store.must_exist()
        store.check()
    except StoreMissing as error:
        return StoreFacts(where=store.where, one_machine=True, missing=error.text)
    except RabbitJobsError as error:
        return StoreFacts(where=store.where, one_machine=store.one_machine, error=error.text)
    return StoreFacts(where=store.where, one_machine=store.one_machine)
