"""Remote control as a role of every worker process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from rabbitjobs.app.application import RabbitJobs
from rabbitjobs.app.roles import ConsumeRole, Role, worker_name
from rabbitjobs.consumer.control_server import ControlServer
from rabbitjobs.consumer.controlled import Controlled
from rabbitjobs.consumer.drained import Drained


class ControlRole:
    """Answers remote control for the other roles of this process."""

    name = "control"

    def __init__(self, app: RabbitJobs, roles: Sequence[Role]) -> None:
        self._server = ControlServer(
            session=app.parts.session(),
            namespace=app.namespace,
            worker=worker_name(),
            queues=[_controlled(role) for role in roles if isinstance(role, ConsumeRole)],
            registry=app.registry,
            bus=app.bus,
        )

    async def start(self) -> None:
        """See ``Role``."""
        self._server.start()

    async def drain(self, grace: float, hurry: asyncio.Event) -> Drained:
        """See ``Role``: it answers no more."""
        await self._server.stop()
        return Drained(0, 0, 0)


def _controlled(role: ConsumeRole) -> Controlled:
    fixed = "an ordered queue" if role.ordered else "a queue of the pool solo" if role.solo else ""
    return Controlled(
        role.queue, role.consumer, role.executor, role.book, role.limits.set_rate, fixed
    )
