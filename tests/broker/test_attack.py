"""Nothing confirmed is lost when connections, consumers and workers end in the middle of work."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from rabbitjobs import RabbitJobs
from rabbitjobs.app.roles import ConsumeRole
from rabbitjobs.broker.node import Node
from rabbitjobs.broker.url import parse_urls
from rabbitjobs.errors import SendUnknown
from rabbitjobs.job.definition import AsyncJob
from rabbitjobs.wire import outbound
from tests.broker.crew import PATIENCE
from tests.brokers import Vhost, wanted_version
from tests.pitfalls.shop import send_for_sure
from tests.proxy import proxy


class Shop:
    """An app with one job, and the ledger of what ran and what was confirmed."""

    def __init__(self, folder: Path) -> None:
        self.app = RabbitJobs(config=folder)
        self.ran: Counter[str] = Counter()
        self.confirmed: list[str] = []
        self.job: AsyncJob[..., str] = self.app.job("mark")(self.mark)

    async def mark(self, name: str, seconds: float = 0.005) -> str:
        """Take a while."""
        self.ran[name] += 1
        await asyncio.sleep(seconds)
        return name

    async def send(self, name: str, **options: Any) -> None:
        """Send until it is confirmed, as a service does."""
        await send_for_sure(self.job, name, **options)
        self.confirmed.append(name)

    async def done(self) -> None:
        """Return when every confirmed job has its result."""
        for name in self.confirmed:
            assert await self.app.handle(name).aresult(PATIENCE) == name

    async def work(self) -> ConsumeRole:
        """Start a worker's role."""
        role = ConsumeRole(self.app, "default", slots=5)
        await role.start()
        return role


@asynccontextmanager
async def opened(url: str, management_url: str, folder: Path) -> AsyncIterator[Shop]:
    """A shop on this broker, with a store of its own."""
    shop = Shop(folder)
    store = f"sqlite:///{folder / 'store.db'}"
    with shop.app.overridden(url=url, store_url=store, management_url=management_url):
        await asyncio.to_thread(shop.app.apply)
        yield shop
        await asyncio.to_thread(shop.app.close)


def through(url: str, port: int) -> str:
    """The same URL by way of a proxy."""
    known = f":{parse_urls(url)[0].port}/"
    assert known in url
    return url.replace(known, f":{port}/")


async def empties(node: Node, url: str) -> None:
    """Wait until the work queue holds nothing, neither ready nor unacked."""
    vhost = parse_urls(url)[0].vhost
    async with asyncio.timeout(PATIENCE):
        while await asyncio.to_thread(node.messages_total, vhost, "rabbitjobs.q.default"):
            await asyncio.sleep(0.05)


async def test_connections_that_are_reset_under_load_lose_nothing(
    node: Node, vhost: Vhost, tmp_path: Path
) -> None:
    """Publisher and worker come back each time, and each outcome is recorded once."""
    async with (
        proxy(parse_urls(vhost.url)[0].port) as line,
        opened(through(vhost.url, line.port), node.management_url, tmp_path) as shop,
    ):
        role = await shop.work()
        sending = asyncio.gather(*(shop.send(f"job {number}") for number in range(300)))
        for _ in range(3):
            before = shop.ran.total()
            async with asyncio.timeout(PATIENCE):
                while shop.ran.total() < before + 10:
                    await asyncio.sleep(0.002)
            line.reset()
        await sending
        await shop.done()
        await empties(node, vhost.url)
        assert len(shop.ran) == len(shop.confirmed) == 300
        # Two connections and three cuts: a loop without pauses would have made thousands.
        assert line.accepted < 20
        await role.drain(20, asyncio.Event())


async def test_a_connection_that_swallows_everything_is_found_and_replaced(
    node: Node, vhost: Vhost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waited hears Unknown, never failed, and the same id sent again has one outcome."""
    monkeypatch.setattr(outbound, "SILENT_SECONDS", 0.3)
    async with (
        proxy(parse_urls(vhost.url)[0].port) as line,
        opened(through(vhost.url, line.port), node.management_url, tmp_path) as shop,
    ):
        await shop.send("first")
        line.swallow()
        with pytest.raises(SendUnknown):
            await shop.job.options(id="second", timeout=0.5).asend("second")
        await shop.send("second", timeout=10)
        role = await shop.work()
        await shop.done()
        await empties(node, vhost.url)
        assert shop.ran == {"first": 1, "second": 1}
        await role.drain(20, asyncio.Event())


async def test_a_job_longer_than_the_consumer_timeout_runs_once_and_holds_up_nobody(
    tmp_path: Path,
) -> None:
    """RabbitMQ 4.3 takes the consumer away; what it held comes back at once and is adopted."""
    with Node(version=wanted_version(), settings={"consumer_timeout": "1000"}) as node:
        url = node.create_vhost("t")
        async with opened(url, node.management_url, tmp_path) as shop:
            role = await shop.work()
            for number in range(2):
                await shop.job.options(id=f"long {number}").asend(f"long {number}", 2.5)
                shop.confirmed.append(f"long {number}")
            for number in range(30):
                await shop.job.options(id=f"short {number}").asend(f"short {number}", 0.3)
                shop.confirmed.append(f"short {number}")
            await shop.done()
            await empties(node, url)
            assert set(shop.ran.values()) == {1}
            assert len(shop.ran) == 32
            await role.drain(20, asyncio.Event())


async def test_a_worker_that_is_restarted_ten_times_runs_every_job_once(
    node: Node, vhost: Vhost, tmp_path: Path
) -> None:
    """An orderly end finishes what runs and hands the rest back: nothing is lost or run twice."""
    async with opened(vhost.url, node.management_url, tmp_path) as shop:
        sending = asyncio.gather(*(shop.send(f"job {number}") for number in range(500)))
        for _ in range(10):
            role = await shop.work()
            before = shop.ran.total()
            async with asyncio.timeout(PATIENCE):
                while shop.ran.total() < before + 20:
                    await asyncio.sleep(0.002)
            drained = await role.drain(20, asyncio.Event())
            assert drained.abandoned == 0
        await sending
        role = await shop.work()
        await shop.done()
        await empties(node, vhost.url)
        await role.drain(20, asyncio.Event())
        assert len(shop.ran) == 500
        assert set(shop.ran.values()) == {1}
