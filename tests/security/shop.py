"""A shop on a real broker, its worker and intake in this process, and a hand for forgeries."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from rabbitjobs import RabbitJobs
from rabbitjobs.app.desk_roles import IntakeRole
from rabbitjobs.app.roles import ConsumeRole
from rabbitjobs.backend.protocol import Status
from rabbitjobs.broker.url import parse_urls
from rabbitjobs.events import Event
from rabbitjobs.message.codec import encode
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.message.properties import Properties
from rabbitjobs.monitor.queues import peek
from rabbitjobs.publisher.putting_back import PutBack, put_back
from rabbitjobs.testing.wire.kit import ready_becomes
from rabbitjobs.wire.pika import PikaWire
from rabbitjobs.wire.protocol import Confirmed, Delivery, Outgoing
from tests.brokers import SHORT_LADDER, Vhost

TOPOLOGY = """
version: 1
namespace: shop
retry: {quick: {attempts: 3, backoff: fixed, delay: 1s}}
queues:
  emails: {retry: quick}
  images: {}
"""
SIGNING = f'signing: {{keys: {{k2: "{"2" * 40}", k1: "{"1" * 40}"}}, sign_with: k2}}\n'

PATIENCE = 40.0


class Shop:
    """An app with the job ``mark``; ``ran`` counts its runs by name."""

    def __init__(self, folder: Path) -> None:
        self.app = RabbitJobs(config=folder)
        self.ran: Counter[str] = Counter()
        self.failing: dict[str, BaseException] = {}
        self.events: list[Event] = []
        self.app.bus.listen(self.events.append)
        self.mark = self.app.job("mark", queue="emails")(self._mark)
        self.roles: list[ConsumeRole | IntakeRole] = []

    async def _mark(self, name: str) -> str:
        self.ran[name] += 1
        error = self.failing.pop(name, None)
        if error is not None:
            raise error
        return name

    def envelope(self, job_id: str, name: str, **fields: Any) -> Envelope:
        """What a sender with the keys sends (without them, if the shop has none)."""
        body = b'{"args":["%b"],"kwargs":{}}' % name.encode()
        values: dict[str, Any] = {"id": job_id, "job": "mark", "queue": "emails", "body": body}
        envelope = Envelope(**(values | fields))
        signing = self.app.parts.signing
        return signing.sign(envelope) if signing is not None else envelope

    async def put(self, envelope: Envelope, *, queue: str | None = None) -> None:
        """Publish an envelope exactly as it is."""
        await self.raw(encode(envelope), envelope.body, queue=queue or envelope.queue)

    async def raw(
        self, properties: Properties, body: bytes, *, queue: str = "emails", exchange: str = "jobs"
    ) -> None:
        """Publish anything, as whoever may write to the exchange can."""
        outgoing = Outgoing(f"shop.{exchange}", queue, properties, body)
        assert isinstance(await self.app.publisher.apublish(outgoing, PATIENCE), Confirmed)

    async def work(self, queue: str = "emails") -> ConsumeRole:
        """Start a worker of a queue."""
        role = ConsumeRole(self.app, queue)
        self.roles.append(role)
        await role.start()
        return role

    async def take_in(self) -> None:
        """Start the intake of the review desk."""
        role = IntakeRole(self.app)
        self.roles.append(role)
        await role.start()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until something holds."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.01)

    async def reaches(self, status: Status, *job_ids: str) -> None:
        """Wait until jobs stand there."""
        async with asyncio.timeout(PATIENCE):
            for job_id in job_ids:
                while await self.app.handle(job_id).astatus() is not status:
                    await asyncio.sleep(0.02)

    def heard(self, kind: type[Event]) -> list[Any]:
        """Events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]

    async def standing(self, queue: str, count: int) -> list[Delivery]:
        """Wait until a queue of the namespace holds so many messages; returns them."""
        async with asyncio.timeout(PATIENCE):
            while True:
                found = await self._peek(queue, count + 1)
                if len(found) >= count:
                    assert len(found) == count
                    await self._lies_there(queue, count)
                    return found
                await asyncio.sleep(0.05)

    async def _lies_there(self, queue: str, count: int) -> None:
        """Wait until so many are ready: what is handed back is so a moment after the answer."""
        wire = await self._wire()
        try:
            await ready_becomes(wire, f"shop.{queue}", count)
        finally:
            await wire.close()

    async def _peek(self, queue: str, count: int) -> list[Delivery]:
        wire = await self._wire()
        try:
            return await peek(wire, f"shop.{queue}", count)
        finally:
            await wire.close()

    async def put_back(self, source: str, *, to: str | None = None) -> PutBack:
        """What ``rabbitjobs queue put-back`` does."""
        wire = await self._wire()
        try:
            app = self.app
            done = await put_back(
                wire, f"shop.{source}", to=to,
                spec=app.spec, publish=app.publisher.confirmed, signing=app.parts.signing,
            )  # fmt: skip
        finally:
            await wire.close()
        await self._lies_there(source, done.unreadable + done.homeless + done.unseen)
        return done

    async def _wire(self) -> PikaWire:
        wire = PikaWire()
        await wire.open(parse_urls(self.app.url)[0], name="test")
        return wire

    async def stop(self) -> None:
        """End the roles."""
        for role in self.roles:
            await role.drain(5, asyncio.Event())
        self.roles.clear()


@asynccontextmanager
async def opened(vhost: Vhost, folder: Path, settings: str = "") -> AsyncIterator[Shop]:
    """A shop on a fresh vhost, its topology applied, nobody at work yet."""
    config = folder / "config"
    config.mkdir()
    (config / "topology.yaml").write_text(TOPOLOGY + SHORT_LADDER)
    (config / "rabbitjobs.yaml").write_text(settings or "{}\n")
    shop = Shop(config)
    store = f"sqlite:///{folder / 'store.db'}"
    management = vhost.broker.management_url
    with shop.app.overridden(url=vhost.url, store_url=store, management_url=management):
        await asyncio.to_thread(shop.app.apply)
        try:
            yield shop
        finally:
            await shop.stop()
            await asyncio.to_thread(shop.app.close)
