"""Rows in which the store is away or full, and in which the clock jumps."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import time
from contextlib import closing

from tests.faults.process import Failed, Process, until
from tests.faults.row import row
from tests.faults.stage import SLOTS, Stage


@row()
def store_down(stage: Stage) -> None:
    """Somebody holds the database for 13 s: endings wait, nothing is acked, nothing is lost."""
    crew = stage.load("--rate", "40")
    with closing(sqlite3.connect(stage.folder / "store.db", timeout=10)) as held:
        held.isolation_level = None
        held.execute("BEGIN IMMEDIATE")
        stage.fault()
        _fails_closed(stage, crew)
        held.execute("ROLLBACK")
    stage.heal()
    stage.recovers()


@row()
def disk_full(stage: Stage) -> None:
    """The store's file may not grow (RLIMIT_FSIZE): the same, and it goes on when it may again."""
    pipe = stage.folder / "pipe"
    os.mkfifo(pipe)
    # The limit would hold for the ledger's file too: the workers reach it through a pipe.
    with stage.ledger.open("ab") as ledger:
        copying = subprocess.Popen(["cat", str(pipe)], stdout=ledger)
    stage.opened.callback(copying.wait)
    stage.opened.callback(os.close, os.open(pipe, os.O_WRONLY))
    crew = stage.workers(2, FAULTS_LEDGER=str(pipe))
    stage.publish("--rate", "40")
    stage.flows(30)
    full = (stage.folder / "store.db-wal").stat().st_size // 2
    stage.fault()
    for worker in crew:
        _limit(worker, full)
    _fails_closed(stage, crew)
    for worker in crew:
        _limit(worker, resource.RLIM_INFINITY)
    stage.heal()
    stage.recovers()


def _limit(worker: Process, size: int) -> None:
    resource.prlimit(worker.popen.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def _fails_closed(stage: Stage, crew: list[Process]) -> None:
    """No outcome becomes durable, so none is told and no slot is freed."""
    time.sleep(1)  # for what was on its way
    ended, held = stage.count("D"), len(crew) * SLOTS
    until(lambda: any("ending waits" in one.log for one in crew), "workers that say so")
    if stage.count("D") != ended:
        raise Failed("expected no ending while the store was away")
    if (total := stage.node.messages_total(stage.vhost, "faults.q.work")) < held:
        raise Failed(f"expected at least {held} messages unacked, got {total}")


@row()
def clock_jumps(stage: Stage) -> None:
    """An hour forward, three hours back, under delayed jobs: one recorded outcome for each."""
    clock = stage.folder / "clock"
    _set(stage, 0)
    crew = stage.workers(2, FAULTS_CLOCK=str(clock))
    stage.publish("--delay", "2", "--rate", "30", FAULTS_CLOCK=str(clock))
    stage.publish("--mix", "mark,flaky", "--rate", "30", FAULTS_CLOCK=str(clock))
    stage.flows(30)
    for seconds in (3600, -7200, 0):
        stage.fault()
        _set(stage, seconds)
        stage.heal()
        stage.flows(40)
        stage.recovers()
    for worker in crew:
        worker.signal(signal.SIGTERM)
        worker.ends(0)
    stage.workers(1)


def _set(stage: Stage, seconds: float) -> None:
    new = stage.folder / "clock.new"
    new.write_text(str(seconds), encoding="ascii")
    new.replace(stage.folder / "clock")
