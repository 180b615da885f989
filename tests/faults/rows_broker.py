"""Rows in which a single broker dies, freezes, raises alarms, or takes something away."""

from __future__ import annotations

import time
from urllib.parse import quote, urlsplit

import httpx

from rabbitjobs.broker.management import Management, management_of
from rabbitjobs.broker.url import parse_urls
from rabbitjobs.clock import uuid7
from rabbitjobs.secret import Secret
from tests.faults.process import Failed, Process, until
from tests.faults.row import row
from tests.faults.rows_processes import MIXED
from tests.faults.stage import SLOTS, Stage

WORK = "faults.q.work"
# What two workers may run twice when the broker delivers what the other one still runs.
BOTH = 2 * SLOTS
# How many sends a publisher has in flight.
SENDERS = 10


def management(stage: Stage) -> Management:
    """The management API of the stage's node; closed with the stage."""
    api = management_of(parse_urls(stage.url)[0], stage.node.management_url)
    return stage.opened.enter_context(api)


def delete(stage: Stage, path: str) -> None:
    """Delete something by the management API; what is not there is fine."""
    url = urlsplit(stage.node.management_url)
    where = f"http://{url.hostname}:{url.port}/api/{path}"
    answer = httpx.delete(where, auth=(url.username or "", url.password or ""))
    if answer.status_code != 404:
        answer.raise_for_status()


def refusals(stage: Stage, kind: str) -> int:
    """How many sends have got this error so far."""
    return sum(line.words == kind for line in stage.lines("U"))


@row(everywhere=True)
def broker_kill(stage: Stage) -> None:
    """kill -9 of the only node, twice: publishers stall, then go on."""
    stage.intake()
    stage.load(*MIXED)
    for _ in range(2):
        stage.fault(duplicates=BOTH, reruns=SENDERS)
        stage.node.kill()
        stage.node.start()
        stage.heal()
        stage.recovers()
        stage.flows(30)


@row()
def broker_restart(stage: Stage) -> None:
    """SIGTERM and a new start."""
    stage.load(*MIXED[:1], "mark,mark,grind,flaky")
    stage.fault(duplicates=BOTH, reruns=SENDERS)
    stage.node.restart()
    stage.heal()
    stage.recovers()


@row()
def broker_freezes(stage: Stage) -> None:
    """SIGSTOP for nine seconds: publishers hear Unknown by their deadline, and all goes on."""
    stage.load("--deadline", "2", RABBITJOBS_URL=f"{stage.url}?heartbeat=2")
    stage.fault(duplicates=BOTH, reruns=SENDERS)
    stage.node.pause()
    time.sleep(9)
    stage.node.resume()
    stage.heal()
    stage.recovers()
    if not refusals(stage, "SendUnknown"):
        raise Failed("expected a publish of unknown outcome while the broker was frozen")


@row()
def memory_alarm(stage: Stage) -> None:
    """Publishing is refused by its deadline; consuming and acking go on."""
    _alarm(
        stage,
        on=("set_vm_memory_high_watermark", "absolute", "1MB"),
        off=("set_vm_memory_high_watermark", "0.6"),
    )


@row()
def disk_alarm(stage: Stage) -> None:
    """The same, for the disk."""
    on, off = ("set_disk_free_limit", "900000GB"), ("set_disk_free_limit", "50MB")
    _alarm(stage, on=on, off=off)


def _alarm(stage: Stage, *, on: tuple[str, ...], off: tuple[str, ...]) -> None:
    (worker,) = stage.workers(1)
    # Twenty seconds of work, all of it confirmed before.
    stage.publish("--count", "400", "--rate", "1000", "--senders", "50", "--seconds", "0.5")
    stage.publishers[0].ends(0)
    stage.fault()
    stage.opened.callback(stage.node.rabbitmqctl, *off)
    stage.node.rabbitmqctl(*on)
    stage.publish("--deadline", "2")
    until(lambda: refusals(stage, "BrokerBlocked") >= 5, "publishers that are told of the alarm")
    stage.flows(20)
    stage.node.rabbitmqctl(*off)
    stage.heal()
    stage.recovers()
    if worker.log.count("unhealthy"):
        raise Failed(f"expected a worker that goes on during an alarm: {worker.tail}")


@row(everywhere=True)
def queue_deleted(stage: Stage) -> None:
    """Under its consumer: loud, unhealthy, never recreated; back when somebody applies."""
    (worker,) = stage.load("--deadline", "2", workers=1)
    api = management(stage)
    # What is in a queue goes with it; so it is empty, and what is sent then is refused.
    publisher = stage.publishers[0]
    stage.stop_publishers()
    until(lambda: stage.count("D") == stage.count("C"), "an empty queue")
    time.sleep(0.5)  # for the last acks, which nobody confirms
    stage.fault()
    delete(stage, f"queues/{quote(stage.vhost, safe='')}/{WORK}")
    stage.publish("--deadline", "2")
    worker.says("unhealthy: failed", 2)
    until(lambda: refusals(stage, "Unroutable") >= 5, "publishers that are told")
    if api.queue(stage.vhost, WORK) is not None:
        raise Failed("expected nobody to recreate the queue")
    if publisher.popen.returncode != 0:
        raise Failed(publisher.tail)
    _check_calm(worker)
    stage.rabbitjobs("topology", "apply")
    stage.heal()
    stage.recovers()
    worker.says("healthy: consuming", 2)


def _check_calm(worker: Process) -> None:
    before = worker.log.count("unhealthy")
    time.sleep(3)
    more = worker.log.count("unhealthy") - before
    if more > 12:
        raise Failed(f"expected pauses between tries, got {more} in three seconds")


@row()
def permission_revoked(stage: Stage) -> None:
    """Workers and publishers lose their rights: unhealthy, no hot loop, and back with them."""
    _loses_user(stage, revoked=True)


@row()
def user_deleted(stage: Stage) -> None:
    """The user himself is gone for a while."""
    _loses_user(stage, revoked=False)


def _loses_user(stage: Stage, *, revoked: bool) -> None:
    api, user, password = management(stage), f"u{uuid7()}", Secret("secret")
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    api.put_user(user, password=password, tags=("management",))
    api.set_permissions(stage.vhost, user, **everything)
    stage.opened.callback(delete, stage, f"users/{user}")
    address = parse_urls(stage.url)[0]
    url = f"amqp://{user}:secret@{address.host}:{address.port}/{quote(stage.vhost, safe='')}"
    worker, _ = stage.load("--deadline", "2", RABBITJOBS_URL=url)
    stage.fault(duplicates=BOTH, reruns=SENDERS)
    if revoked:
        api.set_permissions(stage.vhost, user, configure="^$", write="^$", read="^$")
    else:
        api.delete_user(user)
    delete(stage, f"connections/username/{user}")
    worker.says("unhealthy", 2)
    kind = "SendRefused" if revoked else "AccessRefused"
    until(lambda: refusals(stage, kind) >= 5, f"publishers that are told {kind}")
    _check_calm(worker)
    api.put_user(user, password=password, tags=("management",))
    api.set_permissions(stage.vhost, user, **everything)
    stage.heal()
    stage.recovers()


@row(everywhere=True, topology={"consumer_timeout": "2s", "accept": "[consumer-timeout]"})
def consumer_timeout(stage: Stage) -> None:
    """Jobs of five seconds, two allowed: each runs once, in one process, and holds up nobody."""
    # Before 4.3 channels look at the clock once a minute, and 3.10 knows the node's timeout only.
    for key, value, usual in (
        ("channel_tick_interval", 500, 60000),
        ("consumer_timeout", 2000, 1800000),
    ):
        stage.node.ask(f"application:set_env(rabbit, {key}, {value}).")
        stage.opened.callback(stage.node.ask, f"application:set_env(rabbit, {key}, {usual}).")
    (worker,) = stage.workers(1)
    stage.fault()
    stage.publish("--seconds", "5", "--count", "6", "--rate", "2")
    stage.publish("--rate", "20", "--seconds", "0.05")
    worker.says("delivered again while its job runs here", 3)
    stage.publishers[0].ends(0)
    stage.heal()
    stage.recovers()
    until(lambda: stage.count("E") > 30, "everybody's jobs")


@row()
def event_loop_blocked(stage: Stage) -> None:
    """Jobs that block their event loop for six seconds, at a heartbeat of two."""
    (worker,) = stage.workers(1, RABBITJOBS_URL=f"{stage.url}?heartbeat=2")
    stage.fault()
    stage.publish("--mix", "hog", "--seconds", "6", "--count", "2", "--rate", "1")
    stage.publish("--rate", "20")
    stage.publishers[0].ends(0)
    until(lambda: len([1 for line in stage.lines("D") if line.token[:3] == "p0-"]) == 2, "an end")
    stage.heal()
    stage.recovers()
    if "unhealthy" in worker.log or "delivered again" in worker.log:
        raise Failed(f"expected a connection that outlives bad code: {worker.tail}")
