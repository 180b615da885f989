"""A private node: what it keeps, what it counts, and that it can be broken and brought back."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pika
import pytest

from rabbitjobs.broker.node import Node
from rabbitjobs.errors import NodeError
from tests.brokers import Vhost, wanted_version

QUORUM = {"x-queue-type": "quorum"}


@pytest.fixture(scope="module")
def own_node() -> Iterator[Node]:
    """A node that these tests may break."""
    with Node(version=wanted_version()) as node:
        yield node


@pytest.fixture
def channel(vhost: Vhost) -> Iterator[Any]:
    """A channel in confirm mode on a fresh vhost of the shared node."""
    connection = pika.BlockingConnection(pika.URLParameters(vhost.url))
    channel = connection.channel()
    channel.confirm_delivery()
    yield channel
    if connection.is_open:
        connection.close()


def fill(url: str, queue: str, count: int) -> None:
    """Declare a quorum queue and publish so many confirmed messages into it."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare(queue, durable=True, arguments=QUORUM)
        for number in range(count):
            channel.basic_publish("", queue, str(number).encode(), mandatory=True)


def wait_until(true: Callable[[], bool], timeout: float = 30.0) -> None:
    """Return once it holds; fail when it does not in time."""
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)


def test_the_node_is_of_the_version_that_was_asked_for(node: Node) -> None:
    """The server that answers is the one that the environment names, else the newest."""
    wanted = wanted_version()
    assert node.version.startswith(f"{wanted}." if wanted else "4.")
    assert node.rabbitmqctl("version").strip() == node.version


def test_the_password_stays_out_of_every_description(node: Node) -> None:
    """Neither the node nor its identity shows the password; the URL alone does."""
    password = node.url.split(":")[2].split("@")[0]
    assert len(password) >= 30
    assert password not in repr(node) + str(node) + repr(vars(node))


def test_secrets_are_readable_by_their_owner_only(node: Node) -> None:
    """The folder is 0700 and no file with a secret is open to others."""
    assert node.folder.stat().st_mode & 0o077 == 0
    for name in ("node.json", "rabbitmq.conf", ".erlang.cookie"):
        assert (node.folder / name).stat().st_mode & 0o077 == 0


def test_it_listens_on_the_loopback_address_only(node: Node) -> None:
    """Every listener, epmd's and the distribution's too, is bound to 127.0.0.1."""
    listening = node.rabbitmqctl(
        "eval",
        "[inet:sockname(P) || P <- erlang:ports(),"
        " {ok, S} <- [prim_inet:getstatus(P)], lists:member(listen, S)].",
    )
    assert "{0,0,0,0}" not in listening
    assert "{127,0,0,1}" in listening


def test_the_count_includes_ready_unacked_and_held_messages(
    node: Node, vhost: Vhost, channel: Any
) -> None:
    """Ready, unacked and held by a refused dead lettering: each message counts exactly once."""
    channel.queue_declare(
        "full",
        durable=True,
        arguments={**QUORUM, "x-max-length": 1, "x-overflow": "reject-publish"},
    )
    channel.basic_publish("", "full", b"takes the only place")
    channel.queue_declare(
        "source",
        durable=True,
        arguments={
            **QUORUM,
            "x-overflow": "reject-publish",
            "x-dead-letter-strategy": "at-least-once",
            "x-dead-letter-exchange": "nowhere",
        },
    )
    for number in range(7):
        channel.basic_publish("", "source", str(number).encode())
    assert node.messages_total(vhost.name, "source") == 7
    tags = [channel.basic_get("source")[0].delivery_tag for _ in range(4)]
    assert node.messages_total(vhost.name, "source") == 7
    for tag in tags[:2]:
        channel.basic_reject(tag, requeue=False)
    channel.basic_ack(tags[2])
    wait_until(lambda: node.messages_total(vhost.name, "source") == 6)
    held = channel.queue_declare("source", passive=True).method.message_count
    assert held == 3, "what dead lettering holds is invisible to a passive declare"


def test_the_count_works_for_classic_queues_and_any_name(
    node: Node, vhost: Vhost, channel: Any
) -> None:
    """A classic queue with a Korean name is counted too."""
    channel.queue_declare("주문", durable=True, arguments={"x-queue-type": "classic"})
    channel.basic_publish("", "주문", b"x")
    wait_until(lambda: node.messages_total(vhost.name, "주문") == 1)
    channel.queue_declare("empty", durable=True, arguments=QUORUM)
    assert node.messages_by_queue(vhost.name) == {"주문": 1, "empty": 0}


def test_counting_a_queue_that_does_not_exist_is_an_error(node: Node, vhost: Vhost) -> None:
    """No number is made up for a missing queue."""
    with pytest.raises(NodeError, match="not_found"):
        node.messages_total(vhost.name, "missing")


def test_a_vhost_can_have_any_name_and_is_deleted_with_its_queues(node: Node) -> None:
    """A slash and a letter outside ASCII survive the way into the URL."""
    url = node.create_vhost("a/ä")
    fill(url, "q", 1)
    assert node.messages_total("a/ä", "q") == 1
    node.delete_vhost("a/ä")
    node.delete_vhost("a/ä")
    with pytest.raises(NodeError):
        node.messages_total("a/ä", "q")


def test_confirmed_messages_survive_a_restart(own_node: Node) -> None:
    """Stop and start: same URL, same messages."""
    url = own_node.create_vhost("restart")
    fill(url, "q", 20)
    own_node.restart()
    assert own_node.messages_total("restart", "q") == 20
    assert own_node.vhost_url("restart") == url


def test_confirmed_messages_survive_sigkill(own_node: Node) -> None:
    """Killed and started again, nothing confirmed is gone.

    A queue that was declared within the last second or so comes back empty
    or not at all, with confirmed messages lost: RabbitMQ writes the name of a
    new quorum queue to disk that late. A restart in order writes it at once.
    """
    url = own_node.create_vhost("kill")
    fill(url, "q", 0)
    own_node.restart()
    fill(url, "q", 20)
    own_node.kill()
    assert not own_node.running
    own_node.start()
    wait_until(lambda: own_node.messages_total("kill", "q") == 20)


def test_a_paused_node_is_silent_and_goes_on_where_it_was(own_node: Node) -> None:
    """Frozen it exists and does not answer; resumed it answers again."""
    own_node.pause()
    try:
        assert own_node.running
        assert not own_node.ready
    finally:
        own_node.resume()
    wait_until(lambda: own_node.ready)


def test_another_process_finds_a_node_by_its_folder(own_node: Node) -> None:
    """The same folder is the same node: running, with the same URL."""
    again = Node(own_node.folder, outlive=True)
    assert again.running
    assert again.url == own_node.url


def test_a_folder_with_a_broken_record_is_refused(tmp_path: Path) -> None:
    """The error names the folder and says what to do."""
    (tmp_path / "node.json").write_text("{")
    with pytest.raises(NodeError, match="remove the folder"):
        Node(tmp_path)


def test_a_node_ends_with_the_process_that_started_it() -> None:
    """Even kill -9 of that process leaves no server and no folder behind."""
    program = (
        "import sys; from rabbitjobs.broker.node import Node\n"
        "node = Node(version=sys.argv[1] or None).start(); print(node.folder, flush=True)\n"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, wanted_version() or ""],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        assert (folder / "node.json").exists()
        left = Node(folder, outlive=True)
        process.kill()
        process.wait()
    wait_until(lambda: not left.running and not folder.exists())


def test_a_server_that_cannot_start_says_why() -> None:
    """A setting that RabbitMQ refuses ends in an error with the server's own words.

    No folder is left behind.
    """
    node = Node(version=wanted_version(), settings={"no_such_setting": "1"})
    with pytest.raises(NodeError, match="no_such_setting"):
        node.start()
    assert not node.folder.exists()
