"""What the tests of the suite have in common: listening, publishing, waiting."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rabbitjobs.message.properties import Properties
from rabbitjobs.testing.control import BrokerControl
from rabbitjobs.wire.protocol import (
    Consumer,
    Delivery,
    Outcome,
    Outgoing,
    Wire,
)

MakeWire = Callable[[], Wire]

# A test that waits longer than this for something that must come has failed.
PATIENCE = 45.0
_numbers = itertools.count(1)


class Ends:
    """Hears what a wire says of itself."""

    def __init__(self, wire: Wire) -> None:
        self.closed: list[str] = []
        self.blocked: list[bool] = []
        self._news = asyncio.Event()
        wire.closed = self._on_closed
        wire.blocked = self._on_blocked

    def _on_closed(self, reason: str) -> None:
        self.closed.append(reason)
        self._news.set()

    def _on_blocked(self, blocked: bool) -> None:
        self.blocked.append(blocked)
        self._news.set()

    async def until(self, predicate: Callable[[Ends], bool]) -> None:
        """Wait until what was heard fulfils ``predicate``."""
        async with asyncio.timeout(PATIENCE):
            while not predicate(self):
                self._news.clear()
                await self._news.wait()


class Inbox:
    """Collects what one consumer gets."""

    def __init__(self) -> None:
        self.cancelled: list[str] = []
        self.seen: list[Delivery] = []
        self._fresh: asyncio.Queue[Delivery] = asyncio.Queue()
        self._over = asyncio.Event()

    def deliver(self, delivery: Delivery) -> None:
        """For ``Wire.consume``."""
        self.seen.append(delivery)
        self._fresh.put_nowait(delivery)

    def on_cancelled(self, reason: str) -> None:
        """For ``Wire.consume``."""
        self.cancelled.append(reason)
        self._over.set()

    async def next(self) -> Delivery:
        """The next delivery that nobody has asked for yet."""
        async with asyncio.timeout(PATIENCE):
            return await self._fresh.get()

    async def take(self, count: int) -> list[Delivery]:
        """So many deliveries."""
        return [await self.next() for _ in range(count)]

    async def over(self) -> str:
        """Why the consumer ended, once it has."""
        async with asyncio.timeout(PATIENCE):
            await self._over.wait()
        return self.cancelled[0]

    @property
    def waiting(self) -> int:
        """Deliveries that nobody has asked for yet."""
        return self._fresh.qsize()


def message(
    queue: str,
    body: bytes = b"{}",
    *,
    exchange: str = "",
    message_id: str | None = None,
    mandatory: bool = True,
    **properties: Any,
) -> Outgoing:
    """A message to a queue; every one gets a wire id of its own."""
    wire_id = message_id or f"m-{next(_numbers)}"
    return Outgoing(exchange, queue, Properties(message_id=wire_id, **properties), body, mandatory)


def start_publish(wire: Wire, outgoing: Outgoing) -> asyncio.Future[Outcome]:
    """Publish; the future gets the outcome, and a second one would be an error."""
    future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    wire.publish(outgoing, future.set_result)
    return future


async def publish(wire: Wire, outgoing: Outgoing) -> Outcome:
    """Publish one message and wait for its outcome."""
    async with asyncio.timeout(PATIENCE):
        return await start_publish(wire, outgoing)


async def publish_all(wire: Wire, messages: list[Outgoing]) -> list[Outcome]:
    """Publish all at once and wait for all outcomes."""
    futures = [start_publish(wire, each) for each in messages]
    async with asyncio.timeout(PATIENCE * 2):
        return await asyncio.gather(*futures)


async def eventually(check: Callable[[], Awaitable[bool]], what: str) -> None:
    """Ask again and again, for want of an event, until it holds."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while not await check():
        assert asyncio.get_running_loop().time() < deadline, f"expected {what}"
        await asyncio.sleep(0.02)


async def ready_becomes(wire: Wire, queue: str, count: int) -> None:
    """Wait until so many messages are ready in a queue."""

    async def holds() -> bool:
        return (await wire.inspect_queue(queue))[0] == count

    await eventually(holds, f"{count} ready messages in {queue}")


async def left_behind(wire: Wire, queue: str, least: int = 0) -> int:
    """How many messages are ready once the queue has no consumer any more, ``least`` or more.

    What a consumer gives back comes a moment after it has gone: name what must be there.
    """

    async def holds() -> bool:
        ready, consumers = await wire.inspect_queue(queue)
        return consumers == 0 and ready >= least

    await eventually(holds, f"no consumer on {queue}, and {least} ready messages or more")
    return (await wire.inspect_queue(queue))[0]


async def consume(wire: Wire, queue: str, *, prefetch: int = 10) -> tuple[Consumer, Inbox]:
    """Start a consumer with an inbox of its own."""
    inbox = Inbox()
    consumer = await wire.consume(
        queue, prefetch=prefetch, deliver=inbox.deliver, cancelled=inbox.on_cancelled
    )
    return consumer, inbox


@asynccontextmanager
async def connected(make_wire: MakeWire, broker: BrokerControl) -> AsyncIterator[Wire]:
    """An open wire, closed at the end."""
    wire = make_wire()
    Ends(wire)
    async with asyncio.timeout(PATIENCE):
        await wire.open(broker.address, name="conformance")
    try:
        yield wire
    finally:
        async with asyncio.timeout(PATIENCE):
            await wire.close()


class WireFixtures:
    """What an implementer provides."""

    @pytest.fixture
    def make_wire(self) -> MakeWire:
        """Makes an unopened wire."""
        raise LookupError("expected the class to override the fixture make_wire")

    @pytest.fixture
    async def wire(self, make_wire: MakeWire, broker: BrokerControl) -> AsyncIterator[Wire]:
        """An open wire."""
        async with connected(make_wire, broker) as wire:
            yield wire
