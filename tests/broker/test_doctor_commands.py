"""doctor and the queue commands on a real broker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pika
import pytest
from click.testing import CliRunner, Result

from rabbitjobs import RabbitJobs
from rabbitjobs.broker.management import management_of
from rabbitjobs.broker.node import Node
from rabbitjobs.broker.url import parse_urls
from rabbitjobs.broker.version import from_version
from rabbitjobs.cli.root import cli
from rabbitjobs.clock import uuid7
from rabbitjobs.ending.quarantine import quarantined
from rabbitjobs.errors import ConfigError, UrlRefused
from rabbitjobs.message.properties import Properties
from rabbitjobs.secret import Secret
from rabbitjobs.wire.protocol import Delivery
from tests.broker.crew import until

CONFIG = """
broker: {url: "%s", management_url: "%s"}
store: {url: "sqlite:///%s/store.db"}
"""
TOPOLOGY = """
version: 1
namespace: shop
delays: {longest: 15m}
queues:
  emails: {}
"""


class Shell:
    """Somebody at a shell, with a config folder."""

    def __init__(self, folder: Path, url: str, management_url: str) -> None:
        self.folder = folder
        self.url = url
        self.management_url = management_url
        (folder / "topology.yaml").write_text(TOPOLOGY)
        self.connect_as(url)

    def connect_as(self, url: str) -> None:
        """Write ``url`` into the config."""
        text = CONFIG % (url, self.management_url, self.folder)
        (self.folder / "rabbitjobs.yaml").write_text(text)

    def run(self, *arguments: str, text: str = "") -> Result:
        """Run a command."""
        return CliRunner().invoke(cli, ["--config", str(self.folder), *arguments], input=text)

    def checks(self) -> dict[str, str]:
        """What doctor finds: the worst state of each check by its name, and the texts."""
        found: dict[str, str] = {}
        for check in json.loads(self.run("doctor", "--json").stdout):
            states = ("ok", "warn", "fail")
            before = found.get(check["name"], "ok")
            found[check["name"]] = max(before, check["state"], key=states.index)
        return found

    def timeout(self) -> dict[str, str]:
        """What doctor says of the consumer timeout of the one queue."""
        checks: list[dict[str, str]] = json.loads(self.run("doctor", "--json").stdout)
        (check,) = (one for one in checks if one["name"] == "consumer timeout")
        return check

    def ready(self, queue: str = "shop.q.emails") -> int:
        """How many messages wait in a queue, as ``queue list`` tells."""
        rows = json.loads(self.run("queue", "list", "--json").stdout)
        (row,) = (row for row in rows if row["queue"] == queue)
        return int(row["ready"])

    def publish(self, count: int) -> None:
        """Put messages of a plain client into the queue."""
        with closing(pika.BlockingConnection(pika.URLParameters(self.url))) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            for number in range(count):
                properties = pika.BasicProperties(
                    type="job\x1b[2J", message_id=f"m{number}", delivery_mode=2
                )
                body = b'{"args": [%d]}' % number
                channel.basic_publish("shop.jobs", "emails", body, properties, mandatory=True)


@pytest.fixture
def shell(broker_url: str, management_url: str, tmp_path: Path) -> Shell:
    """A shell on an empty vhost."""
    return Shell(tmp_path, broker_url, management_url)


@pytest.fixture
def applied(shell: Shell) -> Shell:
    """A shell on a vhost with the topology."""
    app = RabbitJobs(config=shell.folder)
    app.apply()
    app.close()
    return shell


def test_an_empty_vhost_is_a_fault_with_the_command_that_mends_it(shell: Shell) -> None:
    """The broker answers, and nothing is there."""
    ran = shell.run("doctor")
    assert ran.exit_code == 1
    assert "topology apply" in ran.stdout
    assert shell.checks()["broker"] == "ok"


def test_an_applied_topology_is_well(applied: Shell) -> None:
    """What is left are warnings: nobody consumes yet, SQLite, and the pause of dead letters."""
    assert applied.run("doctor").exit_code == 0
    states = applied.checks()
    for name in ("broker", "topology", "permissions", "dead letters", "alarms"):
        assert states[name] == "ok"
    assert states["consumers"] == states["store"] == "warn"
    assert applied.run("doctor", "--strict").exit_code == 1


def test_a_broker_that_is_not_there_is_said_plainly(shell: Shell) -> None:
    """And doctor ends at once."""
    shell.connect_as("amqp://u:hunter2@127.0.0.1:1/v")
    ran = shell.run("doctor")
    assert ran.exit_code == 1
    assert "cannot be reached" in ran.stdout
    assert "hunter2" not in ran.output


def test_a_wrong_password_is_not_called_an_outage(shell: Shell) -> None:
    """Nobody starts a broker that runs."""
    address = parse_urls(shell.url)[0]
    shell.connect_as(f"amqp://{address.user}:hunter2@{address.host}:{address.port}/{address.vhost}")
    ran = shell.run("doctor")
    assert ran.exit_code == 1
    assert f"to let user '{address.user}' into" in " ".join(ran.stdout.split())
    assert "ACCESS_REFUSED" in ran.stdout
    assert "cannot be reached" not in ran.stdout
    assert "hunter2" not in ran.output


def test_a_management_url_that_will_not_do_is_said_and_not_passed_over(
    applied: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By doctor, which goes on without it, and by every command that needs it.

    One of the environment, that is: one of the file is a fault of the config, for every command.
    """
    monkeypatch.setenv("RABBITJOBS_MANAGEMENT_URL", "https://127.0.0.1:1/?no_verify_ssl=1")
    (applied.folder / "rabbitjobs.yaml").write_text(
        f'broker: {{url: "{applied.url}"}}\nstore: {{url: "sqlite:///{applied.folder}/store.db"}}\n'
    )
    checks = {check["name"]: check for check in json.loads(applied.run("doctor", "--json").stdout)}
    assert checks["broker"]["state"] == "ok"
    assert "no_verify_ssl" in checks["management"]["text"]
    refused = applied.run("topology", "drift")
    assert isinstance(refused.exception, UrlRefused), refused.output
    applied.management_url = "https://127.0.0.1:1/?no_verify_ssl=1"
    applied.connect_as(applied.url)
    refused = applied.run("doctor")
    assert isinstance(refused.exception, ConfigError), refused.output
    assert "rabbitjobs.yaml:2: broker.management_url: expected" in str(refused.exception)


def test_a_time_limit_that_was_not_applied_is_found(applied: Shell, node: Node) -> None:
    """By the live queue, until apply has set the broker's timeout; 3.10 has none for a queue."""
    limit = "{time_limit: 2h, accept: [consumer-timeout]}"
    (applied.folder / "topology.yaml").write_text(TOPOLOGY.replace("{}", limit, 1))
    check = applied.timeout()
    assert (check["state"], "taken back after 30m" in check["text"]) == ("fail", True)
    if from_version(node.version).generation == "3.10":
        assert "set consumer_timeout above 2h" in check["do"]
        return
    assert "apply first" in check["do"]
    assert applied.run("topology", "apply").exit_code == 0
    check = applied.timeout()
    assert (check["state"], check["do"]) == ("ok", ""), check
    assert "taken back after 2h1m (the queue's effective policy" in check["text"]


def test_a_publisher_is_told_no_consumer_that_he_cannot_see(
    applied: Shell, publisher_url: str, node: Node
) -> None:
    """Nobody consumes; on 4.3 this user may not look, and is told just that."""
    applied.connect_as(publisher_url)
    checks = json.loads(applied.run("doctor", "--json").stdout)
    said = [check["text"] for check in checks if check["name"] == "consumers"]
    if from_version(node.version).generation == "4.3":
        assert said == ["not checked for 3 of 3 queues that need one: this user may not see them"]
    else:
        assert len(said) == 3
    assert not any("has one" in text for text in said)


def test_a_missing_dead_letter_target_is_found(applied: Shell) -> None:
    """A queue of ours whose exchange somebody deleted."""
    with closing(pika.BlockingConnection(pika.URLParameters(applied.url))) as connection:
        connection.channel().exchange_delete("shop.deliver")
    states = applied.checks()
    assert states["topology"] == states["dead letters"] == "fail"


@pytest.fixture
def publisher_url(applied: Shell) -> Iterator[str]:
    """The URL of a user who may write to shop.jobs and nothing else."""
    address = parse_urls(applied.url)[0]
    name = f"publisher-{uuid7()}"
    with management_of(address, applied.management_url) as management:
        management.put_user(name, password=Secret("pw"))
        management.set_permissions(
            address.vhost, name, configure="^$", write=r"^shop\.jobs$", read="^$"
        )
        yield f"amqp://{name}:pw@{address.host}:{address.port}/{address.vhost}"
        management.delete_user(name)


def test_rights_are_tried_without_leaving_anything(applied: Shell, publisher_url: str) -> None:
    """A user who may write to jobs learns what it may not; the messages there stay."""
    applied.publish(3)
    applied.connect_as(publisher_url)
    for role, lacking in (
        ("publisher", "write on shop.delay"),
        ("worker", "read on shop.q.emails"),
        ("reviewer", "read on shop.review"),
        ("topology", "configure on shop.*"),
    ):
        ran = applied.run("doctor", "--json", "--role", role)
        (check,) = [one for one in json.loads(ran.stdout) if one["name"] == "permissions"]
        assert (ran.exit_code, check["state"]) == (1, "fail")
        assert lacking in check["text"] and f"--user {role}=publisher-" in check["do"]
    applied.connect_as(applied.url)
    rows = json.loads(applied.run("queue", "list", "--json", "--all").stdout)
    assert {row["queue"]: row["ready"] for row in rows if row["ready"]} == {"shop.q.emails": 3}


def test_queue_list_shows_what_waits(applied: Shell) -> None:
    """Ready messages are those of this moment."""
    applied.publish(3)
    rows = {row["queue"]: row for row in json.loads(applied.run("queue", "list", "--json").stdout)}
    assert rows["shop.q.emails"]["ready"] == 3
    assert rows["shop.q.emails"]["consumers"] == 0
    assert "shop.q.emails" in applied.run("queue", "list").stdout


def test_peek_does_nothing_until_told(applied: Shell) -> None:
    """It says what it would disturb, and exits 2."""
    applied.publish(3)
    ran = applied.run("queue", "peek", "emails")
    assert ran.exit_code == 2
    assert "redelivered" in ran.stderr and "nothing was done" in ran.stderr
    assert ran.stdout == ""


def test_peek_shows_messages_and_hands_them_back(applied: Shell) -> None:
    """Twice the same messages from the head; escape sequences are written out."""
    applied.publish(3)
    first = json.loads(
        applied.run("queue", "peek", "emails", "--count", "2", "--yes", "--json").stdout
    )
    assert [message["id"] for message in first] == ["m0", "m1"]
    assert not first[0]["redelivered"]
    # What was handed back is there again once the queue has written that down.
    until(lambda: applied.ready() == 3)
    again = json.loads(
        applied.run("queue", "peek", "emails", "--count", "9", "--yes", "--json").stdout
    )
    assert sorted(message["id"] for message in again) == ["m0", "m1", "m2"]
    until(lambda: applied.ready() == 3)
    shown = applied.run("queue", "peek", "emails", "--yes").stdout
    assert "\x1b" not in shown and r"job\x1b[2J" in shown
    until(lambda: applied.ready() == 3)


def test_peek_shows_what_an_unreadable_message_came_with(applied: Shell) -> None:
    """One line for each property for people, one value for programs."""
    app = RabbitJobs(config=applied.folder)
    came = Delivery(1, "", "", False, Properties(app_id="legacy\x1b", headers={"n": 5}), b"\xff")
    (outgoing,) = quarantined(came, "no job's name", "emails", app.spec).sends
    asyncio.run(app.publisher.confirmed(outgoing))
    app.close()
    (told,) = json.loads(applied.run("queue", "peek", "quarantine", "--yes", "--json").stdout)
    assert told["came_with"] == {"app_id": "legacy\x1b", "delivery_mode": 2, "headers": {"n": 5}}
    until(lambda: applied.ready("shop.quarantine") == 1)
    shown = applied.run("queue", "peek", "quarantine", "--yes").stdout
    assert r"came with app_id: legacy\x1b" in shown
    assert "x-rj-properties" not in shown


def test_purge_asks_and_needs_yes(applied: Shell) -> None:
    """Without a terminal and without --yes nothing is destroyed."""
    applied.publish(3)
    refused = applied.run("queue", "purge", "emails", text="shop.q.emails\n")
    assert refused.exit_code == 2
    assert "3 ready messages" in refused.stderr
    assert applied.run("queue", "purge", "emails", "--yes").exit_code == 0
    rows = {row["queue"]: row for row in json.loads(applied.run("queue", "list", "--json").stdout)}
    assert rows["shop.q.emails"]["ready"] == 0
