"""A shop whose every part runs in this process, on a real RabbitMQ, over either wire."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from rabbitjobs import RabbitJobs
from rabbitjobs.app.roles import ConsumeRole
from rabbitjobs.broker.node import Node
from rabbitjobs.broker.url import parse_urls
from rabbitjobs.errors import SendError
from rabbitjobs.events import Event
from rabbitjobs.job.definition import AsyncJob
from rabbitjobs.wire.aio_pika import AioPikaWire
from rabbitjobs.wire.pika import PikaWire
from rabbitjobs.wire.protocol import Wire
from tests.brokers import SHORT_LADDER

MakeWire = Callable[[], Wire]
WIRES: dict[str, MakeWire] = {"pika": PikaWire, "aio-pika": AioPikaWire}
# For what must happen: a machine that is busy with ten other things takes twenty times as long.
PATIENCE = 60.0


async def until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Let the loop run until ``condition`` holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def on_both_wires(folder: Path, act: Callable[[Path, MakeWire], Awaitable[None]]) -> None:
    """Act on each wire, each in a folder of its own, at one time: where waiting is the subject."""

    async def on(name: str, make_wire: MakeWire) -> None:
        own = folder / name
        own.mkdir()
        await act(own, make_wire)

    async with asyncio.TaskGroup() as group:
        for name, make_wire in WIRES.items():
            group.create_task(on(name, make_wire))


async def send_for_sure(job: AsyncJob[..., str], name: str, **options: Any) -> None:
    """Send a job of this name and id until it is confirmed."""
    while True:
        with contextlib.suppress(SendError):
            await job.options(id=name, **options).asend(name)
            return


class Shop:
    """An app with one job, and the ledger of what ran, what was confirmed, what was said."""

    def __init__(self, folder: Path, node: Node, vhost: str) -> None:
        self.app = RabbitJobs(config=folder)
        self.node = node
        self.vhost = vhost
        self.ran: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.confirmed: list[str] = []
        self.events: list[Event] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.job: AsyncJob[..., str] = self.app.job("mark", queue="work")(self.mark)
        self.app.bus.listen(self.events.append)

    async def mark(self, name: str) -> str:
        """Run until its gate opens, or just run."""
        self.ran[name] += 1
        if name in self.gates:
            await self.gates[name].wait()
        self.ended[name] += 1
        return name

    def gate(self, name: str) -> asyncio.Event:
        """The job of this name runs until the gate is opened."""
        return self.gates.setdefault(name, asyncio.Event())

    def said(self, kind: str) -> list[Any]:
        """The events of one kind."""
        return [event for event in self.events if type(event).__name__ == kind]

    def states(self) -> list[str]:
        """The states of the consumer, in their order."""
        return [event.state for event in self.said("ConsumerChanged")]

    async def send(self, name: str, **options: Any) -> None:
        """Send until it is confirmed, as a service does."""
        await send_for_sure(self.job, name, **options)
        self.confirmed.append(name)

    async def done(self, *names: str) -> None:
        """Return when these jobs, or all that were confirmed, have their results."""
        for name in names or self.confirmed:
            assert await self.app.handle(name).aresult(PATIENCE) == name

    async def total(self, queue: str = "q.work") -> int:
        """The exact number of messages in a queue of ours."""
        return await asyncio.to_thread(self.node.messages_total, self.vhost, f"shop.{queue}")

    async def empties(self, queue: str = "q.work", count: int = 0) -> None:
        """Wait until a queue holds ``count`` messages, ready or not."""
        async with asyncio.timeout(PATIENCE):
            while await self.total(queue) != count:
                await asyncio.sleep(0.05)

    @asynccontextmanager
    async def working(self, slots: int = 5) -> AsyncIterator[ConsumeRole]:
        """A worker's role that consumes; drained at the end."""
        role = ConsumeRole(self.app, "work", slots=slots)
        await role.start()
        await until(lambda: "consuming" in self.states())
        try:
            yield role
        finally:
            for gate in self.gates.values():
                gate.set()
            await role.drain(5, asyncio.Event())


@asynccontextmanager
async def shop(
    node: Node,
    folder: Path,
    make_wire: MakeWire,
    *,
    port: int | None = None,
    options: str = "",
    queue: str = "",
    apply: bool = True,
) -> AsyncIterator[Shop]:
    """A shop on a fresh vhost of ``node``; by way of a proxy's ``port`` if one is given.

    ``options`` are those of the URL ("?heartbeat=1"), ``queue`` what the config says of the queue.
    """
    text = f"version: 1\nnamespace: shop\nqueues: {{work: {{{queue}}}}}\n{SHORT_LADDER}"
    (folder / "topology.yaml").write_text(text, encoding="utf-8")
    url = await asyncio.to_thread(node.create_vhost)
    address = parse_urls(url)[0]
    used = url.replace(f":{address.port}/", f":{port or address.port}/") + options
    found = Shop(folder, node, address.vhost)
    store = f"sqlite:///{folder / 'store.db'}"
    management = node.management_url
    with found.app.overridden(url=url, store_url=store, management_url=management):
        if apply:
            await asyncio.to_thread(found.app.apply)
    with found.app.overridden(url=used, store_url=store, management_url=management, wire=make_wire):
        try:
            yield found
        finally:
            await asyncio.to_thread(found.app.close)
            await asyncio.to_thread(node.delete_vhost, address.vhost)
