"""Rows in which single messages, queues and exchanges are bad, full, or not there."""

from __future__ import annotations

import asyncio
import signal
import time
from urllib.parse import quote

import pika
import pika.exceptions

from rabbitjobs.errors import RabbitJobsError, TooLarge
from rabbitjobs.testing.control import RabbitControl
from rabbitjobs.testing.wire.raw import POISON, raw_header
from tests.faults.ledger import Pen
from tests.faults.process import Failed, until
from tests.faults.row import row
from tests.faults.rows_broker import WORK, delete, refusals
from tests.faults.stage import Stage

JOBS = "faults.jobs"
# Bodies of a known job that nobody can run: where they end is the desk.
ABUSE = {
    "no-json": b"{",
    "not-utf8": b"\xff\xfe",
    "empty": b"",
    "a-list": b"[]",
    "wrong-types": b'{"args": [1, "x"], "kwargs": {}}',
    "too-many": b'{"args": ["a", 1, 2, 3, 4], "kwargs": {}}',
    "unknown-name": b'{"args": ["a"], "kwargs": {"nobody": 1}}',
    "huge-number": b'{"args": ["a", 1' + b"0" * 5000 + b'], "kwargs": {}}',
    "not-a-number": b'{"args": ["a", NaN], "kwargs": {}}',
    "deep": b'{"args": [' + b"[" * 50_000 + b"]" * 50_000 + b"]}",
    "surrogate": b'{"args": ["\\ud800"], "kwargs": {}}',
}


@row(everywhere=True, quick=True)
def wire_poison(stage: Stage) -> None:
    """Frames that kill client libraries: quarantined with their bytes, and the next job runs."""
    crew = stage.load()

    async def publish() -> None:
        control = RabbitControl(stage.direct, alarm=lambda _on: None)
        await control.start()
        for number, (flags, fields) in enumerate(POISON.values()):
            body = f"poison {number}".encode()
            stage.fault()
            stage.poison += 1
            await control.publish_raw(WORK, b"work", raw_header(len(body), flags, fields), body)
        await control.close()

    asyncio.run(publish())
    stage.heal()
    stage.recovers()
    expected = {f"poison {number}" for number in range(len(POISON))}
    until(lambda: {one["body"] for one in stage.peek("quarantine")} == expected, "all bytes kept")
    for worker in crew:
        if "unhealthy" in worker.log:
            raise Failed(f"expected workers that stay up: {worker.tail}")


@row()
def bad_bodies(stage: Stage) -> None:
    """Bodies that no job can take end on the desk; unnamed jobs in quarantine; slots are freed."""
    stage.intake()
    stage.load(workers=1)
    pen = Pen(stage.ledger)
    for name, body in ABUSE.items():
        stage.fault()
        pen.write("A", f"bad-{name}", f"bad-{name}")
        _publish(stage, "work", body, type="mark", message_id=f"bad-{name}")
        pen.write("C", f"bad-{name}", f"bad-{name}", 0)
    for properties in ({}, {"type": "mark"}, {"type": "mark", "message_id": "m" * 255}):
        stage.fault()
        stage.poison += 1
        headers = {"x-rj-attempt": "many"}
        _publish(stage, "work", b"unnamed", headers=headers, **properties)
    stage.heal()
    stage.recovers()


@row(most_seconds=60)
def unknown_job(stage: Stage) -> None:
    """A job that only a newer worker knows is tried again later, and done when that one comes."""
    stage.load(workers=1)
    pen = Pen(stage.ledger)
    old = stage.processes[0]
    stage.fault()
    pen.write("A", "new-job", "new-job")
    job = stage.app.remote("newer", queue="work")
    job.options(id="new-job").send("new-job")
    pen.write("C", "new-job", "new-job", 0)
    old.says("job unknown here")
    stage.heal()
    stage.workers(1, FAULTS_NEWER="1")
    old.signal(signal.SIGTERM)
    old.ends(0)
    until(lambda: any(line.token == "new-job" for line in stage.lines("D")), "the newer job's end")
    stage.recovers()


@row()
def channel_errors(stage: Stage) -> None:
    """A missing exchange, a redeclared queue, a body of 17 MB: only that operation fails."""
    stage.load(workers=1)
    before = stage.count("U")
    job = stage.app.remote("mark", queue="work")
    stage.fault()
    _must(TooLarge, lambda: job.send("x" * 17_000_000))
    stage.fault()
    delete(stage, f"exchanges/{quote(stage.vhost, safe='')}/faults.delay")
    stage.publish("--count", "20", "--delay", "1", "--deadline", "2")
    until(lambda: refusals(stage, "Unroutable") >= 3, "delayed sends that are refused")
    stage.fault()
    _must(pika.exceptions.ChannelClosedByBroker, lambda: _redeclare(stage))
    if stage.count("U") - before != refusals(stage, "Unroutable"):
        raise Failed(f"expected plain sends to go on, got {stage.lines('U')[-3:]}")
    stage.rabbitjobs("topology", "apply")
    stage.publishers[1].ends(0)
    stage.heal()
    stage.recovers()


@row(topology={"max_length": "40"})
def queue_full(stage: Stage) -> None:
    """Publishers are told; what retries meanwhile waits; nothing is dropped."""
    stage.workers(1)
    stage.fault()
    stage.publish("--rate", "200", "--seconds", "0.3", "--mix", "mark,flaky", "--senders", "60")
    until(lambda: refusals(stage, "QueueFull") >= 20, "publishers that are told")
    stage.flows(60)
    stage.stop_publishers()
    stage.heal()
    stage.publish("--rate", "5")
    stage.recovers()


@row()
def dead_letter_target_missing(stage: Stage) -> None:
    """Where retries come back to is gone: they are held, and arrive when it is there again."""
    stage.workers(2)
    stage.fault()
    delete(stage, f"exchanges/{quote(stage.vhost, safe='')}/faults.deliver")
    stage.publish("--mix", "flaky,mark", "--rate", "40", "--count", "100")
    stage.publishers[0].ends(0)
    time.sleep(2)  # the retries have been due for a second
    held = stage.node.messages_total(stage.vhost, "faults.retry.work.1s")
    if held != 50:
        raise Failed(f"expected 50 messages to be held, got {held}")
    stage.rabbitjobs("topology", "apply")
    stage.heal()
    stage.publish("--mix", "flaky", "--rate", "20", "--count", "20")
    stage.recovers()


def _must(kind: type[Exception], act: object) -> None:
    assert callable(act)
    try:
        act()
    except kind:
        return
    except (RabbitJobsError, pika.exceptions.AMQPError) as error:
        raise Failed(f"expected {kind.__name__}, got {error!r}") from error
    raise Failed(f"expected {kind.__name__}, got nothing")


def _redeclare(stage: Stage) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(stage.direct))
    try:
        connection.channel().queue_declare(
            WORK, durable=True, arguments={"x-queue-type": "classic"}
        )
    finally:
        connection.close()


def _publish(stage: Stage, key: str, body: bytes, **properties: object) -> None:
    """Publish as a stranger does, by hand."""
    connection = pika.BlockingConnection(pika.URLParameters(stage.direct))
    try:
        channel = connection.channel()
        channel.confirm_delivery()
        made = pika.BasicProperties(delivery_mode=2, **properties)
        channel.basic_publish(JOBS, key, body, made, mandatory=True)
    finally:
        connection.close()
