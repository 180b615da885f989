"""Rows in which our own processes die or are told to end."""

from __future__ import annotations

import signal

from tests.faults.ledger import read
from tests.faults.process import Failed
from tests.faults.row import row
from tests.faults.stage import SLOTS, Stage

MIXED = ("--mix", "mark,mark,grind,flaky,mark,skip,mark,ask")


@row(everywhere=True, quick=True)
def worker_kill(stage: Stage) -> None:
    """kill -9 of a worker in the middle of its jobs, three times; a new one takes its place."""
    stage.intake()
    crew = stage.load(*MIXED, "--seconds", "0.05")
    for _ in range(3):
        stage.fault(duplicates=SLOTS)
        crew.pop(0).kill()
        stage.heal()
        stage.recovers()
        crew += stage.workers(1)
        stage.flows(30)


@row(quick=True)
def worker_dies_between_forward_and_ack(stage: Stage) -> None:
    """What follows an attempt is confirmed, its delivery is not acked: the second is dropped."""
    stage.load("--mix", "flaky", "--rate", "40")
    doomed = stage.worker(RABBITJOBS_FAILPOINT="after-forward-confirm")
    # Both copies of what follows come at the same time: one may be looked up just before the ending
    # of the other is written, and begin just after it; never later.
    stage.fault(duplicates=SLOTS, reruns=SLOTS, within=0.1)
    doomed.ends(137)
    stage.heal()
    stage.recovers()


@row(quick=True)
def publisher_dies_between_confirm_and_return(stage: Stage) -> None:
    """Its next life sends the same id again: one outcome."""
    stage.workers(1)
    for _ in range(3):
        stage.fault()
        options = ("--own-ids", "--senders", "1")
        died = stage.publish(*options, RABBITJOBS_FAILPOINT="after-publish-confirm")
        died.ends(137)
        stage.heal()
        again = stage.start(
            "publisher", "-m", "tests.faults.publisher", *options,
            "--name", f"p{len(stage.publishers) - 1}", "--recover", "--count", "20",
        )  # fmt: skip
        again.ends(0)
    stage.recovers()


@row(everywhere=True, topology={"delivery_limit": "2"})
def delivery_counts(stage: Stage) -> None:
    """A job that kills its worker is delivered three times on every version, then on a desk."""
    stage.intake()
    stage.publish("--mix", "die", "--count", "1")
    for _ in range(3):
        stage.fault(duplicates=1)
        stage.worker("--slots", "1").ends(-signal.SIGKILL)
    stage.workers(1)
    stage.heal()
    stage.publish("--rate", "30")
    stage.recovers()
    lines = read(stage.ledger)
    deadly = next(line.token for line in lines if line.kind == "C")
    if (runs := sum(line.kind == "S" and line.token == deadly for line in lines)) != 3:
        raise Failed(f"expected three deliveries, got {runs}")


@row(everywhere=True)
def sigterm_twenty_times(stage: Stage) -> None:
    """Under load: nothing is lost, and no job that was done runs again."""
    crew = stage.load("--rate", "100", "--seconds", "0.03")
    for _ in range(10):
        fresh = [stage.worker() for _ in crew]
        for old in crew:
            stage.fault()
            old.signal(signal.SIGTERM)
        for old in crew:
            old.ends(0)
        crew = [new.says("healthy: consuming") for new in fresh]
    stage.heal()
    stage.recovers()


@row(everywhere=True)
def sigterm_sigterm_sigkill(stage: Stage) -> None:
    """In order, then sharp, then not at all: what was running runs again, what waited went back."""
    stage.intake()
    crew = stage.load(*MIXED, "--seconds", "0.5", "--rate", "60", workers=3)
    stage.fault()
    for one in crew[:2]:
        one.signal(signal.SIGTERM)
        one.says("worker stopping")
    stage.fault(duplicates=SLOTS)
    crew[0].signal(signal.SIGTERM)
    crew[0].ends(0)
    crew[1].ends(0)
    stage.fault(duplicates=SLOTS)
    crew[2].kill()
    stage.heal()
    stage.workers(2)
    stage.recovers()
