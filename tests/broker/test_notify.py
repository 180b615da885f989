"""From a failing job to a mail and a webhook, through a real broker."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rabbitjobs import RabbitJobs, failpoints
from rabbitjobs.app.desk_roles import NotifyRole
from rabbitjobs.app.roles import ConsumeRole, Role
from rabbitjobs.broker.url import parse_urls
from rabbitjobs.events import ConsumerChanged, Event, JobEnded
from rabbitjobs.message.properties import Properties
from rabbitjobs.topology import names
from rabbitjobs.wire.pika import PikaWire
from rabbitjobs.wire.protocol import Outgoing
from tests.broker.crew import ROOT
from tests.unit.notify.conftest import Mailbox, Receiver
from tests.unit.notify.test_notifier import told_in

TOPOLOGY = """
version: 1
namespace: shop
queues:
  emails:
    concurrency: 50
    on:
      - {error: "*", do: notify, then: ignore}
"""
SETTINGS = """
broker: {url: "%s", management_url: "%s"}
store: {url: "sqlite:///%s/store.db"}
notify:
  title: shop
  channels:
    - mail: {host: 127.0.0.1, port: %d, tls: none, sender: jobs@shop.example, to: ops@shop.example}
  rate: {messages: 6, per: 1m, digest: 500ms}
  patience: 200ms
  on_done: {allow: ["127.0.0.1:%d"]}
"""


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    """A mail server."""
    box = Mailbox()
    await box.start()
    yield box
    await box.stop()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A web server."""
    server = Receiver()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def app(
    broker_url: str, management_url: str, tmp_path: Path, mailbox: Mailbox, receiver: Receiver
) -> Iterator[RabbitJobs]:
    """An app with a job that fails, on an applied topology."""
    (tmp_path / "topology.yaml").write_text(TOPOLOGY)
    text = SETTINGS % (broker_url, management_url, tmp_path, mailbox.port, receiver.port)
    (tmp_path / "rabbitjobs.yaml").write_text(text)
    app = RabbitJobs(config=tmp_path)

    @app.job("confirm", queue="emails")
    async def confirm(order: int) -> int:
        if order >= 0:
            raise TimeoutError(f"order {order}")
        return order

    app.apply()
    yield app
    app.close()


@asynccontextmanager
async def working(*roles: Role) -> AsyncIterator[None]:
    """Roles at work in this process."""
    for role in roles:
        await role.start()
    yield
    for role in roles:
        await role.drain(20, asyncio.Event())


async def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until ``condition()`` holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def waiting(app: RabbitJobs) -> int:
    """Ready messages in the notify queue, when nobody holds any."""
    wire = PikaWire()
    await wire.open(parse_urls(app.url)[0], name="test")
    ready, _ = await wire.inspect_queue(names.notify_queue(app.namespace))
    await wire.close()
    return ready


async def until_waiting(app: RabbitJobs, count: int) -> None:
    """Wait until so many messages are ready in the notify queue."""
    async with asyncio.timeout(60):
        while await waiting(app) != count:
            await asyncio.sleep(0.05)


async def notifier(
    app: RabbitJobs, folder: Path, *, failpoint: str | None = None
) -> asyncio.subprocess.Process:
    """A ``rabbitjobs notify run`` process, which may die at a failpoint."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RABBITJOBS_")}
    named = {failpoints.VARIABLE: failpoint} if failpoint else {}
    (folder / "shop.py").write_text(
        "from pathlib import Path\nfrom rabbitjobs import RabbitJobs\n"
        "app = RabbitJobs(config=Path(__file__).parent)\n"
    )
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "rabbitjobs", "--app", "shop:app", "notify", "run",
        cwd=folder,
        env=kept | named | {"PYTHONPATH": str(ROOT)},
        stdin=asyncio.subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.timeout(200)
async def test_failures_arrive_as_a_few_mails_and_leave_the_queue(
    app: RabbitJobs, mailbox: Mailbox
) -> None:
    """300 failures: each in exactly one mail, and nothing is left in the notify queue."""
    job = app.remote("confirm", queue="emails")
    begun = time.monotonic()
    async with working(ConsumeRole(app, "emails"), NotifyRole(app)):
        sent = await app.asend_many(job.call(number) for number in range(300))
        assert all(one.ok for one in sent)
        # On a slow machine the last digest waits for the minute that the rate is for.
        await until(lambda: told_in(mailbox.mails) == 300, 100)
    assert len(mailbox.mails) <= 6 * (1 + (time.monotonic() - begun) // 60)  # six a minute
    assert await waiting(app) == 0


async def test_a_mail_server_that_is_away_loses_nothing(app: RabbitJobs, mailbox: Mailbox) -> None:
    """The failures wait in the broker's queue, over a restart of the notifier too."""
    job = app.remote("confirm", queue="emails")
    await mailbox.stop()
    failed: list[Event] = []
    delayed: list[ConsumerChanged] = []

    def watch(event: Event) -> None:
        if isinstance(event, JobEnded):
            failed.append(event)
        if isinstance(event, ConsumerChanged) and event.state == "delayed":
            delayed.append(event)

    app.bus.listen(watch)
    async with working(ConsumeRole(app, "emails"), NotifyRole(app)):
        await app.asend_many(job.call(number) for number in range(100))
        await until(lambda: len(failed) == 100 and bool(delayed))
    await until_waiting(app, 100)  # handed back, and written down by the queue
    # An outage is not a line in the log for each failure that waits for its end.
    assert len(delayed) <= 5
    await mailbox.start()
    async with working(NotifyRole(app)):
        await until(lambda: told_in(mailbox.mails) == 100)
    assert await waiting(app) == 0


async def test_a_caller_gets_its_webhook_on_completion(app: RabbitJobs, receiver: Receiver) -> None:
    """For a success and for a failure, once each."""
    job = app.remote("confirm", queue="emails").options(on_done=receiver.url)
    async with working(ConsumeRole(app, "emails"), NotifyRole(app)):
        good, bad = await job.asend(-1), await job.asend(1)
        await until(lambda: len(receiver.requests) == 2)
    assert {(body["job_id"], body["status"]) for body in receiver.bodies} == {
        (good.id, "succeeded"),
        (bad.id, "ignored"),
    }


async def test_a_notifier_that_dies_between_mail_and_ack_tells_nothing_twice(
    app: RabbitJobs, mailbox: Mailbox, tmp_path: Path
) -> None:
    """The note comes again, and the store knows that it was told."""
    job = app.remote("confirm", queue="emails")
    async with working(ConsumeRole(app, "emails")):
        await job.asend(1)
        process = await notifier(app, tmp_path, failpoint="after-mail")
        async with asyncio.timeout(60):
            assert await process.wait() == failpoints.EXIT_CODE
    assert told_in(mailbox.mails) == 1
    await until_waiting(app, 1)
    process = await notifier(app, tmp_path)
    await until_waiting(app, 0)
    process.terminate()
    async with asyncio.timeout(60):
        assert await process.wait() == 0
    assert await waiting(app) == 0
    assert told_in(mailbox.mails) == 1


async def test_what_no_ending_wrote_goes_to_quarantine(app: RabbitJobs) -> None:
    """A stranger's message in the notify queue does not stop the notifier."""
    await app.publisher.confirmed(Outgoing("shop.fail", "notify", Properties(type="x"), b"?"))
    wire = PikaWire()
    await wire.open(parse_urls(app.url)[0], name="test")

    async with working(NotifyRole(app)):
        async with asyncio.timeout(60):
            while (await wire.inspect_queue("shop.quarantine"))[0] != 1:
                await asyncio.sleep(0.05)
    await wire.close()
    assert await waiting(app) == 0
