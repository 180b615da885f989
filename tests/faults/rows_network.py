"""Rows in which the network between us and the broker breaks, by way of a proxy."""

from __future__ import annotations

import time

from rabbitjobs.broker.url import parse_urls
from tests.faults.process import Failed, until
from tests.faults.proxy import BOTH as EITHER
from tests.faults.proxy import Direction, Proxy, proxy
from tests.faults.row import row
from tests.faults.rows_broker import BOTH, SENDERS, refusals
from tests.faults.rows_processes import MIXED
from tests.faults.stage import Stage


def through(stage: Stage) -> tuple[Proxy, str]:
    """A proxy before the broker, and the URL that leads through it, with a short heartbeat."""
    port = parse_urls(stage.url)[0].port
    line = stage.opened.enter_context(proxy(port))
    return line, stage.url.replace(f":{port}/", f":{line.port}/") + "?heartbeat=2"


@row(everywhere=True)
def connections_reset(stage: Stage) -> None:
    """Five times, in the middle of everything (SO_LINGER 0)."""
    stage.intake()
    line, url = through(stage)
    stage.load(*MIXED, RABBITJOBS_URL=url)
    for _ in range(5):
        stage.fault(duplicates=BOTH, reruns=SENDERS)
        line.reset()
        stage.heal()
        stage.recovers()
    # Three processes, two connections of each: a hot loop would have made thousands.
    if line.accepted > 80:
        raise Failed(f"expected a few new connections, got {line.accepted}")


@row()
def connections_refused(stage: Stage) -> None:
    """For five seconds nobody gets in."""
    line, url = through(stage)
    stage.load("--deadline", "2", RABBITJOBS_URL=url)
    before = line.accepted
    stage.fault(duplicates=BOTH, reruns=SENDERS)
    line.refuse()
    time.sleep(5)
    tries = line.accepted - before
    line.heal()
    stage.heal()
    stage.recovers()
    if tries > 100:
        raise Failed(f"expected pauses between tries, got {tries} in five seconds")


@row()
def connections_held(stage: Stage) -> None:
    """Accepted, and then nothing is ever said: found by the deadline of connecting."""
    line, url = through(stage)
    stage.load("--deadline", "2", RABBITJOBS_URL=url)
    stage.fault(duplicates=BOTH, reruns=SENDERS)
    line.hold()
    time.sleep(3)
    line.heal()
    stage.heal()
    stage.recovers()


@row(everywhere=True)
def black_hole_both_ways(stage: Stage) -> None:
    """Nothing passes on the open connections, and nobody hears of it."""
    _black_hole(stage, *EITHER)


@row()
def black_hole_to_the_broker(stage: Stage) -> None:
    """What we say is swallowed: publishes, acks, heartbeats."""
    _black_hole(stage, "up")


@row(everywhere=True)
def black_hole_from_the_broker(stage: Stage) -> None:
    """What the broker says is swallowed: deliveries, confirms, heartbeats."""
    _black_hole(stage, "down")


def _black_hole(stage: Stage, *directions: Direction) -> None:
    line, url = through(stage)
    crew = stage.load("--deadline", "2", "--mix", "mark,flaky", RABBITJOBS_URL=url)
    stage.fault(duplicates=BOTH, reruns=SENDERS)
    line.swallow(*directions)
    stage.heal()
    stage.recovers()
    for worker in crew:
        worker.says("unhealthy: waiting").says("healthy: consuming", 2)


@row(everywhere=True, quick=True)
def only_the_confirm_is_lost(stage: Stage) -> None:
    """The publisher hears Unknown and sends again: stored twice, recorded once."""
    line, url = through(stage)
    stage.workers(2)
    stage.publish("--deadline", "1", RABBITJOBS_URL=url)
    stage.flows(30)
    stage.fault(duplicates=SENDERS, reruns=SENDERS)
    line.swallow("down")
    until(lambda: refusals(stage, "SendUnknown") >= SENDERS, "unknown outcomes")
    stage.heal()
    stage.recovers()


@row()
def slow_network(stage: Stage) -> None:
    """Each piece half a second late, and then slower than the publisher's deadline."""
    line, url = through(stage)
    stage.load("--deadline", "2", "--mix", "mark,flaky", RABBITJOBS_URL=url)
    stage.fault(duplicates=BOTH, reruns=SENDERS)
    line.delay(0.5)
    stage.flows(30)
    stage.fault(duplicates=BOTH, reruns=SENDERS)
    line.delay(3.0)
    time.sleep(6)
    line.heal()
    stage.heal()
    stage.recovers()
