"""What doctor and the queue commands know: facts of broker and store, taken without a trace."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rabbitjobs.broker.management import Management
from rabbitjobs.broker.url import Address
from rabbitjobs.broker.version import REFERENCE, Capabilities, from_properties
from rabbitjobs.clock import uuid7
from rabbitjobs.errors import (
    AccessRefused,
    BrokerError,
    ChannelClosed,
    ConnectionLost,
    RabbitJobsError,
    TopologyRefused,
)
from rabbitjobs.message.properties import Properties
from rabbitjobs.topology import names
from rabbitjobs.topology.model import TopologySpec
from rabbitjobs.topology.plan import Plan, compile_plan
from rabbitjobs.wire.pika import PikaWire
from rabbitjobs.wire.protocol import CONFIRMED, Outcome, Outgoing, Rejected, Wire

if TYPE_CHECKING:
    from rabbitjobs.store.engine import Store

TIMEOUT = 10.0
FORBIDDEN = 403
MISSING = 404


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
    ``writes`` says for an exchange whether this user may publish to it. What only the management
    API tells (``live_*``, ``alarms``) is empty with ``management_error`` set.
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
    writes: Mapping[str, bool] = field(default_factory=dict)
    private: bool = False
    management_error: str = ""
    alarms: tuple[str, ...] = ()
    live_queues: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    live_exchanges: Mapping[str, str] = field(default_factory=dict)
    live_bindings: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFacts:
    """The store, if there is one: where, and why it cannot be used."""

    where: str = ""
    one_machine: bool = False
    error: str = ""


async def look(
    addresses: Sequence[Address],
    spec: TopologySpec,
    management: Management | None,
    *,
    private: bool = False,
) -> BrokerFacts:
    """Take the facts of the first broker that answers. Never raises for what it finds.

    Nothing is declared. Rights are tried with an empty, unroutable message, which is returned.
    """
    wire, address, errors = await _open(addresses)
    if wire is None:
        return BrokerFacts(
            address=str(address),
            error="; ".join(error.text for error in errors),
            access_refused=any(isinstance(error, AccessRefused) for error in errors),
        )
    try:
        found = await _ask(wire, spec)
    finally:
        await wire.close()
    return BrokerFacts(
        address=str(address),
        private=private,
        **found,
        **await asyncio.to_thread(_manage, management, address.vhost),
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


async def _ask(wire: Wire, spec: TopologySpec) -> dict[str, Any]:
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
    tried = (names.jobs_exchange, names.delay_exchange, names.fail_exchange)
    # Since 4.3 an exchange without any right on it is not even to be seen: 403, and worth a try.
    written = [name for make in tried if exchanges[name := make(spec.namespace)] != MISSING]
    return {
        **found,
        "plan": plan,
        "exchanges": exchanges,
        "queues": {one.name: await inspect(wire, one.name) for one in plan.queues},
        "writes": {name: await _may_write(wire, name) for name in written},
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


async def _may_write(wire: Wire, exchange: str) -> bool:
    """Whether an empty message to nowhere is returned (or even taken), and not refused."""
    done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def answered(outcome: Outcome) -> None:
        if not done.done():
            done.set_result(outcome)

    nowhere = f"doctor.{uuid7()}"
    wire.publish(Outgoing(exchange, nowhere, Properties(message_id=uuid7()), b""), answered)
    try:
        async with asyncio.timeout(TIMEOUT):
            outcome = await done
    except TimeoutError:
        return True  # blocked by an alarm, which has a check of its own
    refused = isinstance(outcome, Rejected) and outcome.code == FORBIDDEN
    return outcome is CONFIRMED or not refused


def _manage(management: Management | None, vhost: str) -> dict[str, Any]:
    if management is None:
        return {"management_error": "no management API is configured"}
    try:
        return {
            "alarms": management.alarms(),
            "live_queues": {str(queue["name"]): queue for queue in management.queues(vhost)},
            "live_exchanges": {
                str(one["name"]): str(one["type"]) for one in management.exchanges(vhost)
            },
            "live_bindings": frozenset(
                (str(one["source"]), str(one["routing_key"])) for one in management.bindings(vhost)
            ),
        }
    except BrokerError as error:
        return {"management_error": error.text}


def look_at_store(store: Store | None) -> StoreFacts:
    """Take the facts of the store; a SQLite file is made if it is not there."""
    if store is None:
        return StoreFacts()
    try:
        store.check()
    except RabbitJobsError as error:
        return StoreFacts(where=store.where, one_machine=store.one_machine, error=error.text)
    return StoreFacts(where=store.where, one_machine=store.one_machine)
