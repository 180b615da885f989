"""Line breaks and terminal escapes in names and payloads: one line, nothing a terminal obeys."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pika
import pytest

from tests.brokers import Vhost
from tests.docs.reader import ROOT, Reader, end

# Many processes, one after another: on a busy machine each start takes many seconds.
pytestmark = pytest.mark.timeout(360)

EVIL = "a\r\nFAKE LINE level=error\x1b[2J\x1b]0;owned\x07\x9b31m\u202eb\u2028c"
# All that moves a cursor, changes a title or turns text around; a line's own end is no trick.
TRICKS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")

APP = """
from rabbitjobs import RabbitJobs, Review
app = RabbitJobs("shop")

@app.job("evil", queue="one")
def evil(text: str) -> str:
    raise Review(text)

@app.job("echo", queue="one")
def echo(text: str) -> str:
    return text
"""


def send(url: str) -> None:
    """What somebody who may write to the exchange sends: a type nobody knows, and three jobs."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()

        def put(kind: str, body: bytes, job_id: str, **headers: object) -> None:
            properties = pika.BasicProperties(type=kind, message_id=job_id, headers=headers)
            channel.basic_publish("shop.jobs", "one", body, properties, mandatory=True)

        arguments = json.dumps({"args": [EVIL]}).encode()
        put(EVIL, b"{}", f"unknown{EVIL}", **{"x-rj-unknown": 3, f"x-evil{EVIL}": EVIL})
        put("echo", EVIL.encode(), "no-json")
        put("evil", arguments, "evil-1")
        put("echo", arguments, "echo-1")


@pytest.fixture
def team(vhost: Vhost, tmp_path: Path) -> Iterator[Reader]:
    """A folder with an app, and an environment with a vhost and a store of its own."""
    (tmp_path / "jobs.py").write_text(APP)
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RABBITJOBS_")}
    own = {
        "PYTHONPATH": f"{ROOT}:{tmp_path}",
        "PYTHONIOENCODING": "utf-8",
        "RABBITJOBS_APP": "jobs:app",
        "RABBITJOBS_URL": vhost.url,
        "RABBITJOBS_MANAGEMENT_URL": vhost.broker.management_url,
        "RABBITJOBS_STORE_URL": f"sqlite:///{tmp_path / 'store.db'}",
        "TERM": "xterm-256color",
        "COLUMNS": "200",
    }
    yield Reader(tmp_path, kept | own)


def in_terminal(team: Reader, *arguments: str) -> str:
    """What a command writes to a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "rabbitjobs", *arguments],
        cwd=team.folder, env=team.environment, stdin=theirs, stdout=theirs,
        stderr=subprocess.DEVNULL if "--json" in arguments else theirs,
    )  # fmt: skip
    os.close(theirs)
    parts: list[bytes] = []
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        parts.append(part)
    os.close(ours)
    process.wait(30)
    return b"".join(parts).decode("utf-8", "replace")


STYLE = re.compile("\x1b\\[[0-9;]*m")


@pytest.mark.parametrize("kind", ["console", "json"])
def test_a_newline_or_an_ansi_escape_in_a_name_or_payload_is_one_escaped_line(
    team: Reader, kind: str
) -> None:
    """In the log of a worker, in every command's text, table and JSON, piped or in a terminal."""
    team.python("-m", "rabbitjobs", "topology", "apply")
    watcher = team.start(
        "-m", "rabbitjobs", "events", "--count", "12", *(["--json"] * (kind == "json"))
    )
    worker = team.start("-m", "rabbitjobs", "--log-format", kind, "--log-level", "debug", "run")
    try:
        until(team, "watching;")
        send(team.environment["RABBITJOBS_URL"])
        until(team, "job succeeded", "job ended without success", times=4)
        until(team, "review item stored", times=2)
        listed = json.loads(team.python("-m", "rabbitjobs", "review", "list", "--json"))
        (case,) = [one["id"] for one in listed["cases"] if one["job"] == "evil"]
        commands = [
            ("queue", "peek", "quarantine", "--yes"),
            ("queue", "list"),
            ("review", "list"),
            ("review", "show", case),
            ("result", "evil-1"),
            ("result", "echo-1"),
            ("doctor",),
        ]
        as_json = ["--json"] if kind == "json" else []
        with ThreadPoolExecutor(2) as two_at_a_time:
            texts = two_at_a_time.map(lambda one: in_terminal(team, *one, *as_json), commands)
            shown = dict(zip(commands, texts, strict=True))
    finally:
        assert end(worker) == 0, team.log()
        watcher.kill()
        watcher.wait(20)
    for command, text in shown.items():
        rest = STYLE.sub("", text.replace("\r\n", "\n"))
        assert not TRICKS.search(rest), (command, rest)
        assert not any(line.startswith("FAKE") for line in rest.splitlines()), rest
        if kind == "json":
            json.loads(rest)
    assert "FAKE LINE" in shown[commands[0]]
    assert "FAKE LINE" in shown[commands[3]]
    log = team.log()
    assert "FAKE LINE" in log
    assert not TRICKS.search(log)
    assert not any(line.startswith("FAKE") for line in log.splitlines())


def until(team: Reader, *texts: str, times: int = 1) -> None:
    """Wait until a process has said these so often, counted together."""
    deadline = time.monotonic() + 40
    while sum(team.log().count(text) for text in texts) < times:
        assert time.monotonic() < deadline, team.log()
        time.sleep(0.05)
