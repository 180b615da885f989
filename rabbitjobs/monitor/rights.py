"""Which rights a user has, tried on the broker without a trace, and which its role lacks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final

from rabbitjobs.clock import uuid7
from rabbitjobs.errors import ChannelClosed
from rabbitjobs.message.properties import Properties
from rabbitjobs.topology.model import TopologySpec
from rabbitjobs.topology.permissions import Need, needs
from rabbitjobs.wire.protocol import CONFIRMED, Outcome, Outgoing, Rejected, Wire

TIMEOUT: Final = 10.0
FORBIDDEN: Final = 403
POLICYMAKER: Final = "policymaker"


async def try_rights(wire: Wire, spec: TopologySpec) -> dict[Need, bool]:
    """Try everything that any role needs. Nothing is taken, and nothing is left behind.

    Writing: an empty message to nowhere, which is returned. Reading: a consumer that RabbitMQ
    refuses for its arguments, after it has looked at the right. Configuring: an exclusive queue
    that dies with this connection. What is not there does not count as forbidden.
    """
    found: dict[Need, bool] = {}
    for need in dict.fromkeys(one for role in needs(spec).values() for one in role):
        found[need] = await _may(wire, need)
    return found


async def _may(wire: Wire, need: Need) -> bool:
    if need.right == "write":
        return await may_write(wire, need.name)
    name = f"{need.name}.doctor.{uuid7()}"
    try:
        if need.right == "read":
            await wire.consume(
                need.name,
                prefetch=1,
                deliver=_ignore,
                cancelled=_ignore,
                arguments={"x-priority": "none, refuse this"},
            )
        else:
            keys = [name] if need.right == "bind" else []
            await wire.temporary_queue(name, exchange=need.source, keys=keys)
    except ChannelClosed as error:
        return error.code != FORBIDDEN
    return True


def _ignore(_: Any) -> None:
    """Never called: no consumer starts."""


async def may_write(wire: Wire, exchange: str) -> bool:
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


def lacking(
    spec: TopologySpec, rights: Mapping[Need, bool], tags: Iterable[str] | None
) -> dict[str, list[str]]:
    """For each role what this user lacks; ``tags`` is ``None`` where they could not be asked."""
    found = {
        role: [str(one) for one in wanted if not rights.get(one, True)]
        for role, wanted in needs(spec).items()
    }
    if tags is not None and not {POLICYMAKER, "administrator"} & set(tags):
        found["topology"].append(f"the tag {POLICYMAKER}")
    return found
