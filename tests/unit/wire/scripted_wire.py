"""A wire that does what a test tells it, for the rooms above the wires."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from rabbitjobs.broker.url import Address
from rabbitjobs.errors import ChannelClosed, ConnectionLost
from rabbitjobs.message.properties import Properties
from rabbitjobs.wire.link import Link, LinkListener
from rabbitjobs.wire.protocol import Delivery, Outcome, Outgoing


async def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Let the loop run until ``condition`` holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.001)


class ScriptedConsumer:
    """Keeps the acks that it is told. ``silent`` and ``deaf``: no answer, and none to a close."""

    def __init__(
        self, deliver: Callable[[Delivery], None], cancelled: Callable[[str], None]
    ) -> None:
        self.told: list[tuple[str, int]] = []
        self.cancelled_by_us = False
        self.closed = False
        self.silent = False
        self.deaf = False
        self._deliver = deliver
        self.cancelled = cancelled

    def deliver(self, tag: int, body: bytes = b"") -> None:
        """A message comes."""
        self._deliver(Delivery(tag, "x", "k", False, Properties(), body))

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        """Keep it."""
        self.told.append(("upto" if multiple else "ack", tag))

    def nack(self, tag: int, *, requeue: bool = True) -> None:
        """Keep it."""
        self.told.append(("nack", tag))

    async def cancel(self) -> None:
        """Stop."""
        await self._answer()
        self.cancelled_by_us = True

    async def sync(self) -> None:
        """A round trip."""
        await self._answer()
        self.told.append(("sync", 0))

    async def close(self) -> None:
        """Close."""
        if self.deaf:
            await asyncio.Event().wait()
        self.closed = True

    async def _answer(self) -> None:
        if self.silent:
            await asyncio.Event().wait()


class ScriptedWire:
    """One connection whose answers the test gives. ``refusing`` fails the opening."""

    frame_max = 131_072

    def __init__(self, world: World) -> None:
        self.closed: Callable[[str], None] = lambda reason: None
        self.blocked: Callable[[bool], None] = lambda blocked: None
        self.alarm = ""
        self.server: Mapping[str, Any] = {}
        self.world = world
        self.flying: list[tuple[Outgoing, Callable[[Outcome], None]]] = []
        self.consumers: list[ScriptedConsumer] = []
        self.prefetches: list[int] = []
        self.refused_consumes = 0
        self.was_closed = False
        self.looks = 0

    async def open(self, address: Address, *, name: str) -> None:
        """Open, or fail as the world says."""
        self.world.opened.append(address)
        if self.world.failures:
            raise self.world.failures.pop(0)

    def publish(self, message: Outgoing, done: Callable[[Outcome], None]) -> None:
        """Keep it until the test answers."""
        self.flying.append((message, done))

    def answer(self, outcome: Outcome, place: int = 0) -> Outgoing:
        """Give the outcome of one message in flight."""
        message, done = self.flying.pop(place)
        done(outcome)
        return message

    async def consume(
        self,
        queue: str,
        *,
        prefetch: int,
        deliver: Callable[[Delivery], None],
        cancelled: Callable[[str], None],
        arguments: Mapping[str, Any] | None = None,
    ) -> ScriptedConsumer:
        """Make a consumer, or refuse."""
        self.world.consumes += 1
        if self.world.refused_consumes:
            self.world.refused_consumes -= 1
            raise ChannelClosed(f"NOT_FOUND - no queue '{queue}'", code=404, queue=queue)
        await self.world.answering.wait()
        consumer = ScriptedConsumer(deliver, cancelled)
        self.consumers.append(consumer)
        self.prefetches.append(prefetch)
        return consumer

    async def inspect_queue(self, queue: str) -> tuple[int, int]:
        """Ready messages and consumers, as the world says."""
        self.looks += 1
        return self.world.counts

    async def close(self) -> None:
        """Keep that it was closed."""
        self.was_closed = True


class World:
    """Every wire that was made, and what the next ones do."""

    def __init__(self) -> None:
        self.wires: list[ScriptedWire] = []
        self.opened: list[Address] = []
        self.failures: list[BaseException] = []
        self.refused_consumes = 0
        self.consumes = 0
        self.counts = (0, 1)
        self.answering = asyncio.Event()
        self.answering.set()

    def make(self) -> ScriptedWire:
        """A wire."""
        self.wires.append(ScriptedWire(self))
        return self.wires[-1]

    @property
    def wire(self) -> ScriptedWire:
        """The newest wire."""
        return self.wires[-1]

    def link(self, *addresses: Address) -> Link:
        """A link over wires of this world, with hardly any pause between its tries."""
        return Link(self.make, addresses or (Address(),), name="t", longest_pause=0.001)  # type: ignore[arg-type]


class Heard(LinkListener):
    """Writes down what a link says."""

    def __init__(self) -> None:
        self.said: list[tuple[str, Any]] = []

    def link_up(self, wire: Any, generation: int) -> None:
        """Up."""
        self.said.append(("up", generation))

    def link_down(self, reason: str) -> None:
        """Down."""
        self.said.append(("down", reason))

    def link_blocked(self, blocked: bool) -> None:
        """Blocked."""
        self.said.append(("blocked", blocked))


LOST = ConnectionLost("no route")
