"""Asking workers, from the client to the command line, on a broker in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rabbitjobs import RabbitJobs, events
from rabbitjobs.app.control_role import ControlRole
from rabbitjobs.app.roles import ConsumeRole, Role, worker_name
from rabbitjobs.broker.version import from_version
from rabbitjobs.cli.options import CliContext
from rabbitjobs.cli.root import cli
from rabbitjobs.control import protocol
from rabbitjobs.control.client import ControlClient
from rabbitjobs.message.properties import Properties
from rabbitjobs.testing.memory import declare_plan
from rabbitjobs.topology.plan import compile_plan
from rabbitjobs.wire.memory import MemoryBroker, MemoryWire
from rabbitjobs.wire.protocol import Outgoing

URL = "amqp://guest:guest@127.0.0.1:1/"
TOPOLOGY = """
version: 1
namespace: shop
queues:
  work: {}
"""


class Shop:
    """An app of one queue on a broker in memory; its worker runs in this process."""

    def __init__(self, folder: Path) -> None:
        self.broker = MemoryBroker()
        self.config = folder
        (folder / "topology.yaml").write_text(TOPOLOGY)
        self.app = self.new_app()
        self.store_url = f"sqlite:///{folder / 'store.db'}"
        spec = self.app.spec
        declare_plan(self.broker, compile_plan(spec, from_version(self.broker.version)))
        self.heard: list[events.Event] = []
        self.app.bus.listen(self.heard.append)

    def new_app(self) -> RabbitJobs:
        """The same app, as another process has it."""
        app = RabbitJobs(config=self.config, url=URL, wire=lambda: MemoryWire(self.broker))

        @app.job("waits", queue="work")
        async def waits() -> None:
            await asyncio.Event().wait()

        return app

    def command(self, *arguments: str, patience: str = "60s") -> Result:
        """Run a command as another process would; it waits no longer than for those it names."""
        app, obj = self.new_app(), CliContext(url=URL)
        obj.__dict__["_app"] = app
        with app.overridden(
            url=URL, store_url=self.store_url, wire=lambda: MemoryWire(self.broker)
        ):
            return CliRunner().invoke(cli, [*arguments, "--timeout", patience], obj=obj)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """With a store of its own."""
    found = Shop(tmp_path)
    with found.app.overridden(
        url=URL, store_url=found.store_url, wire=lambda: MemoryWire(found.broker)
    ):
        yield found


async def start(shop: Shop) -> list[Role]:
    """The worker's roles, at work."""
    consuming = ConsumeRole(shop.app, "work")
    roles: list[Role] = [consuming, ControlRole(shop.app, [consuming])]
    for role in roles:
        await role.start()
    async with asyncio.timeout(60):
        while consuming.consumer.state != "consuming":
            await asyncio.sleep(0.001)
        while not any(".control.worker." in name for name in shop.broker.queues):
            await asyncio.sleep(0.001)
    return roles


async def drained(roles: list[Role]) -> None:
    """The worker ends."""
    await asyncio.gather(*(role.drain(0.0, asyncio.Event()) for role in roles))


async def test_each_command_of_the_shell_is_answered(shop: Shop) -> None:
    """What only looks, and what changes something."""
    roles = await start(shop)
    handle = await shop.app.remote("waits", queue="work").options(tag="t").asend()
    async with asyncio.timeout(60):
        while not any(isinstance(one, events.JobStarted) for one in shop.heard):
            await asyncio.sleep(0.001)
    for command, text in (
        (("inspect", "ping"), "pong"),
        (("inspect", "stats"), "1 of"),
        (("inspect", "active"), handle.id),
        (("inspect", "reserved"), "none"),
        (("inspect", "registered"), "waits on work"),
        (("inspect", "stacks"), "in waits"),
        (("control", "slots", "work", "7"), "slots 7"),
        (("control", "rate", "work", "10/s"), "rate 10/s"),
        (("control", "rate", "work", "60/m", "--job", "waits"), "job waits"),
        (("control", "pause", "work"), "paused True"),
        (("control", "resume", "work"), "paused False"),
        (("control", "pause", "other"), "does not consume that queue"),
        (("control", "shutdown"), "done"),
    ):
        ran = await asyncio.to_thread(shop.command, *command, "--worker", worker_name())
        assert ran.exit_code == 0, (command, ran.output)
        assert text in ran.output and f"{worker_name()}:" in ran.output
    for refused, said in (
        (("work", "10"), "refused: expected a rate such as"),
        (("work", "10/s", "--job", "nothing"), "refused: expected a job that is known here"),
    ):
        ran = await asyncio.to_thread(
            shop.command, "control", "rate", *refused, "--worker", worker_name()
        )
        assert (ran.exit_code, said in ran.output) == (1, True), ran.output
    assert any(isinstance(one, events.WorkerToldToStop) for one in shop.heard)
    commands = [one.command for one in shop.heard if isinstance(one, events.ControlHeard)]
    assert commands == ["set-slots", "set-rate", "set-rate", "pause", "resume", "pause", "shutdown"]
    ran = await asyncio.to_thread(
        partial(shop.command, patience="2s"),
        *("control", "cancel", "--tag", "t", "--why", "moved", "--who", "ann"),
    )
    assert ran.exit_code == 0, ran.output
    assert "it is stored" in ran.output and "knows" in ran.output
    async with asyncio.timeout(60):
        while (await handle.astatus()).value != "cancelled":
            await asyncio.sleep(0.001)
    stored = await handle.ainfo()
    assert stored is not None and stored.error == "cancelled by ann: moved"
    await drained(roles)


async def test_a_worker_that_is_not_there_is_named(shop: Shop) -> None:
    """Whom one asks for must answer."""
    roles = await start(shop)
    ran = await asyncio.to_thread(
        partial(shop.command, patience="2s"),
        *("inspect", "ping", "--worker", "gone:1", "--worker", worker_name(), "--json"),
    )
    assert ran.exit_code == 3
    told = json.loads(ran.stdout)
    assert list(told["answers"]) == [worker_name()]
    assert told["no_answer"] == ["gone:1"]
    await drained(roles)


async def test_what_cannot_be_read_or_comes_late_is_told_and_changes_nothing(shop: Shop) -> None:
    """Whoever wrote it."""
    roles = await start(shop)
    late = protocol.Request(at=1.0, command=protocol.Shutdown())
    for body in (b"{}", b"\xff", protocol.encode(late)):
        shop.broker.publish(Outgoing("shop.control", "all", Properties(message_id="m"), body))
    async with asyncio.timeout(60):
        while sum(isinstance(one, events.ControlDropped) for one in shop.heard) < 3:
            await asyncio.sleep(0.001)
    assert not any(isinstance(one, events.WorkerToldToStop) for one in shop.heard)
    await drained(roles)


async def test_an_answer_of_a_stranger_is_no_answer(shop: Shop) -> None:
    """What is none is not counted; nobody waits for ever."""
    client = ControlClient(shop.app.parts.session(), "shop", who="ann")
    asked = await asyncio.to_thread(client.ask, protocol.Ping(), timeout=0.1)
    assert (asked.answers, asked.silent) == ((), None)
    for body in (b"", b'{"worker": 5}', b'{"v": 9, "worker": "h:1"}'):
        shop.broker.publish(
            Outgoing("shop.events", f"answer.{client._token}", Properties(message_id="m"), body)
        )
    asked = await asyncio.to_thread(client.ask, protocol.Ping(), timeout=0.1)
    assert asked.answers == ()
    await asyncio.to_thread(client.close)


async def test_a_worker_that_hears_nothing_says_so(shop: Shop) -> None:
    """Once, and again when it hears; its jobs run meanwhile."""
    control = shop.broker._router._exchanges.pop("shop.control")
    consuming = ConsumeRole(shop.app, "work")
    hearing = ControlRole(shop.app, [consuming])
    await hearing.start()
    async with asyncio.timeout(60):
        while not said(shop):
            await asyncio.sleep(0.001)
        assert said(shop)[0] == "failed"
        shop.broker._router._exchanges["shop.control"] = control
        while said(shop)[-1] != "consuming":
            await asyncio.sleep(0.001)
    await drained([hearing])


def said(shop: Shop) -> list[str]:
    """What was told of remote control."""
    return [
        one.state
        for one in shop.heard
        if isinstance(one, events.ConsumerChanged) and one.queue == "control"
    ]


async def test_an_answer_that_comes_late_is_none_to_the_next_question(shop: Shop) -> None:
    """Whoever asks one thing after the other is not told the one for the other."""
    shop.broker.declare_queue("spy")
    shop.broker.bind("shop.control", "spy", "all")
    known = ("h:2", "h:3")
    client = ControlClient(shop.app.parts.session(), "shop", who="ann", present=lambda: known)
    await asyncio.to_thread(client.ask, protocol.Ping(), timeout=0.1)
    first = client._asked
    asking = asyncio.ensure_future(asyncio.to_thread(client.ask, protocol.Stats(), timeout=20))
    await asyncio.to_thread(shop.broker.wait_until, lambda broker: broker.depth("spy")[0] == 2)
    # The last is of a release that does not say what it answers.
    for worker, at in (("h:1", first), ("h:2", first), ("h:2", client._asked), ("h:3", None)):
        body = protocol.encode(protocol.Answer(worker=worker, asked=at, value=at == first))
        shop.broker.publish(
            Outgoing("shop.events", f"answer.{client._token}", Properties(message_id="m"), body)
        )
    answers = (await asking).answers
    assert [(one.worker, one.value) for one in answers] == [("h:2", False), ("h:3", False)]
    await asyncio.to_thread(client.close)
