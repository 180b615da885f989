"""Pitfalls of connections: rows 8, 15, 16, 17 and 18."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import re
import threading
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest

from rabbitjobs.broker.node import Node
from rabbitjobs.broker.url import Address, parse_urls
from rabbitjobs.errors import ConnectionLost, UrlRefused
from rabbitjobs.monitor.logs import configure
from rabbitjobs.secret import Secret
from rabbitjobs.testing.control import RabbitControl
from rabbitjobs.testing.wire.kit import Ends, connected, consume, message, publish
from rabbitjobs.wire import aio_pika
from tests.broker.crew import ECHO, Crew, crew
from tests.pitfalls.shop import WIRES, MakeWire, shop, until
from tests.pitfalls.test_consuming import delete

ROOT = Path(__file__).parents[2] / "rabbitjobs"


async def test_pitfall_08_a_deleted_queue_is_never_recreated(
    node: Node, make_wire: MakeWire, tmp_path: Path
) -> None:
    """Neither by the consumer nor by a reconnect: it is missed until somebody applies."""
    async with shop(node, tmp_path, make_wire) as found, found.working():
        await asyncio.to_thread(delete, node, found, "shop.q.work")
        await until(lambda: found.states().count("failed") >= 2)
        with found.app.parts.management() as management:
            queues = {queue["name"] for queue in management.queues(found.vhost)}
        assert "shop.q.work" not in queues and "shop.review" in queues


def test_pitfall_08_the_robust_connection_is_used_nowhere() -> None:
    """It ignores timeouts, recreates queues and never replays a publish."""
    calls = re.compile(r"connect_robust\(|RobustConnection\(|RobustChannel\(|import .*[Rr]obust")
    for path in ROOT.rglob("*.py"):
        assert not calls.search(path.read_text(encoding="utf-8")), path


async def test_pitfall_15_a_black_hole_is_noticed_by_its_heartbeats(
    control: RabbitControl,
) -> None:
    """At the default of 10 s within half a minute: pika waits twice, five seconds longer each."""
    wires = [make_wire() for make_wire in WIRES.values()]
    all_ends = [Ends(wire) for wire in wires]
    for wire in wires:
        await wire.open(dataclasses.replace(control.address, heartbeat=1), name="pitfall")
    await control.hold_answers()
    # A third wait of pika's would end at 18 s, a library's own heartbeat of 60 s in minutes.
    await until(lambda: all(ends.closed for ends in all_ends), seconds=2 * (1 + 5) + 4)
    for wire in wires:
        await wire.close()


@pytest.mark.parametrize("heartbeat", ["0", "-1", "601", "1e3", ""])
def test_pitfall_15_heartbeats_are_short_and_cannot_be_switched_off(heartbeat: str) -> None:
    """At 0 a client hangs for good, at the libraries' 60 s for minutes."""
    assert 10 <= Address().heartbeat <= 15
    with pytest.raises(UrlRefused):
        parse_urls(f"amqp://host/?heartbeat={heartbeat}")


SHOP, TOPOLOGY = ECHO, "version: 1\nnamespace: shop\nqueues: {work: {}}\n"


@pytest.fixture
def team(node: Node, tmp_path: Path) -> Iterator[Crew]:
    with crew(node, tmp_path, SHOP, TOPOLOGY) as found:
        yield found


def test_pitfall_16_threads_share_an_app(team: Crew) -> None:
    """Eight at once: every send is confirmed to the thread that sent it."""
    echo = team.app.remote("echo", queue="work")
    ids: list[str] = []

    def send() -> None:
        ids.extend(echo.send(number).id for number in range(50))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 400
    assert team.total("q.work") == 400


FORKING = """
import os, threading
from shop import app, echo

echo.send(0)                      # the parent is connected before it forks, as under gunicorn
stop = threading.Event()

def chatter():
    while not stop.is_set():
        echo.send(1)

thread = threading.Thread(target=chatter)
thread.start()                    # and another thread is in the middle of a send
children = []
for _ in range(4):
    pid = os.fork()
    if pid == 0:
        ids = [echo.send(2).id for _ in range(5)]
        threads = [threading.Thread(target=echo.send, args=(3,)) for _ in range(5)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        app.close()
        os._exit(0 if len(set(ids)) == 5 else 1)
    children.append(pid)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
stop.set()
thread.join()
echo.send(4)                      # the parent's connection is still its own
print(codes)
"""


def test_pitfall_16_parent_and_children_send_after_a_fork(team: Crew) -> None:
    """Each over its own connection; nobody hangs, nothing is lost."""
    assert team.python(FORKING).strip() == "[0, 0, 0, 0]"
    assert team.total("q.work") >= 2 + 4 * 10


@pytest.mark.parametrize(
    "option",
    ["no_verify_ssl=1", "ca_certs=/x.pem", "cert_reqs=0", "ssl_options={}", "verify=none", "x=1"],
)
def test_pitfall_17_options_that_a_library_would_ignore_or_obey_are_refused(option: str) -> None:
    """One of them switches certificate checks off, others are dropped in silence."""
    for scheme in ("amqp", "amqps"):
        with pytest.raises(UrlRefused, match="certificate checks cannot be switched off"):
            parse_urls(f"{scheme}://user:secret@host/?{option}")


def test_pitfall_17_every_context_checks_certificates_and_names() -> None:
    """Whatever else the URL says."""
    context = parse_urls("amqps://host/?server_name_indication=other")[0].ssl_context()
    assert context is not None
    assert context.check_hostname and context.verify_mode.name == "CERT_REQUIRED"


PASSWORD = "hunter2-hunter2"
CARD = "4111-1111-1111-1111"
BODY = f'{{"card": "{CARD}"}}'.encode()


@pytest.fixture
def log() -> Iterator[StringIO]:
    """All that this process logs, with everything turned up as far as it goes."""
    root, stream = logging.getLogger(), StringIO()
    before = list(root.handlers), root.level
    try:
        yield stream
    finally:
        root.handlers[:], _ = before
        root.setLevel(before[1])


async def test_pitfall_18_neither_password_nor_body_is_shown_or_logged(
    make_wire: MakeWire, control: RabbitControl, log: StringIO
) -> None:
    """At DEBUG the libraries print both; their loggers are capped when a log is configured."""
    configure("DEBUG", "json", log)
    address = dataclasses.replace(control.address, password=Secret(PASSWORD))
    for text in (str(address), repr(address), f"{address.password}", f"{address.password!r}"):
        assert PASSWORD not in text
    with pytest.raises(ConnectionLost) as refused:
        await make_wire().open(address, name="pitfall")
    assert PASSWORD not in str(refused.value)
    await control.declare_queue("q")
    async with connected(make_wire, control) as wire:
        _, inbox = await consume(wire, "q")
        await publish(wire, message("q", BODY, headers={"token": PASSWORD}))
        assert (await inbox.next()).body == BODY
    logging.getLogger("rabbitjobs").debug("the log is on")
    said = log.getvalue()
    assert "the log is on" in said
    # The whole number: four digits of it stand in a time or a port by chance.
    assert PASSWORD not in said and CARD not in said
    assert control.address.password.reveal() not in said


def test_pitfall_18_without_our_logs_the_wire_itself_caps_aiormq() -> None:
    """A service that turns its own logging up sees no bodies either."""
    loggers = [logging.getLogger(name) for name in ("aiormq", "aio_pika")]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    aio_pika._cap_loggers()
    assert all(logger.level >= logging.WARNING for logger in loggers)
