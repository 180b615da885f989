"""`rabbitjobs broker`: a private node that outlives its command and is found again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pika
import pytest

from rabbitjobs.broker.state import running_management_url, running_node, running_url
from tests.broker.crew import until


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user without a node; what they start is stopped afterwards."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    yield tmp_path
    if (node := running_node()) is not None:
        node.kill()


def rabbitjobs(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `rabbitjobs broker ...` as a person does."""
    return subprocess.run(
        [sys.executable, "-m", "rabbitjobs", "broker", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
        env=dict(os.environ),
    )


def queue_total(url: str) -> int:
    """How many messages wait in the queue `kept`."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        declared = connection.channel().queue_declare("kept", passive=True)
        return int(declared.method.message_count)


@pytest.mark.timeout(240)
def test_the_life_of_a_private_node(home: Path) -> None:
    """Start, status, url, stop, start: the same URL, the same messages, one node."""
    before = rabbitjobs("status")
    assert (before.returncode, before.stdout) == (3, "does not run\n")
    assert running_url() is None

    started = rabbitjobs("start")
    assert started.returncode == 0, started.stderr
    assert "started: RabbitMQ" in started.stdout
    assert "runs already" in rabbitjobs("start").stdout
    assert rabbitjobs("status").returncode == 0

    url = rabbitjobs("url").stdout.strip()
    assert running_url() == url
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("kept", durable=True, arguments={"x-queue-type": "quorum"})
        channel.basic_publish("", "kept", b"x")
    management = rabbitjobs("url", "--management").stdout.strip()
    assert running_management_url(url) == management
    assert running_management_url(f"{url}?heartbeat=10") == management
    assert running_management_url("amqp://somebody@elsewhere:5672/") is None

    assert rabbitjobs("stop").returncode == 0
    assert running_url() is None
    assert rabbitjobs("stop").returncode == 0, "stopping twice is fine"

    assert rabbitjobs("start").returncode == 0
    assert rabbitjobs("url").stdout.strip() == url
    until(lambda: queue_total(url) == 1)  # a node that starts counts before it has read its log

    password = url.split(":")[2].split("@")[0]
    for said in (started, rabbitjobs("status"), rabbitjobs("stop")):
        assert password not in said.stdout + said.stderr
    for file in home.rglob("*"):
        if file.is_file() and password.encode() in file.read_bytes():
            assert file.stat().st_mode & 0o077 == 0, f"{file} shows the password to others"


def test_two_starts_at_a_time_make_one_node(home: Path) -> None:
    """The second waits for the first and finds its node."""
    command = [sys.executable, "-m", "rabbitjobs", "broker", "start"]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=90)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    ports = {line.split("127.0.0.1:")[1].split(",")[0] for line in said}
    assert len(ports) == 1
    assert len(list(home.rglob("node.json"))) == 1


def test_without_a_node_url_says_what_to_do(home: Path) -> None:
    """Exit 3, nothing on standard output, the next command on standard error."""
    answer = rabbitjobs("url")
    assert answer.returncode == 3
    assert answer.stdout == ""
    assert "rabbitjobs broker start" in answer.stderr
    assert not any(home.iterdir())
