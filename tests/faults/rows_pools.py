"""Rows in which the children of a process pool die, hang and leak under load."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from tests.faults.process import Process, until
from tests.faults.row import row
from tests.faults.stage import Stage

CHILDREN = {"pool": "processes", "children": "2"}


@row(quick=True, topology=CHILDREN)
def children_killed(stage: Stage) -> None:
    """kill -9 of children amid their jobs: each costs an attempt of its own job only."""
    stage.intake()
    crew = stage.load("--mix", "crunch")
    dice = random.Random(stage.seed)
    for _ in range(5):
        stage.fault()
        until(partial(_kill_one, dice, crew), "a child to kill")
        stage.heal()
        stage.recovers()
        stage.flows(20)


def _kill_one(dice: random.Random, crew: Sequence[Process]) -> bool:
    try:
        os.kill(dice.choice(_children(dice.choice(crew))), signal.SIGKILL)
    except ProcessLookupError:  # it has just been replaced
        return False
    return True


@row(topology=CHILDREN)
def process_server_killed(stage: Stage) -> None:
    """kill -9 of what makes the children: they end with it, and others come."""
    stage.intake()
    crew = stage.load("--mix", "crunch")
    for worker in crew:
        stage.fault()
        (server,) = _below(worker.popen.pid)
        os.kill(server, signal.SIGKILL)
        stage.heal()
        left = partial(_left, [server], partial(_below, worker.popen.pid))
        until(left, f"another process server of {worker.path.stem}")
        stage.recovers()
        stage.flows(20)


@row(topology=CHILDREN)
def children_crash(stage: Stage) -> None:
    """One job in eight ends its child each time it runs: the desk has it after three attempts."""
    stage.intake()
    stage.fault()
    stage.load("--mix", ",".join([*["crunch"] * 7, "burst"]), "--rate", "40")
    stage.flows(200)
    stage.heal()
    stage.recovers()


@row(topology=CHILDREN)
def children_hang(stage: Stage) -> None:
    """One job in eight never ends: its child is killed at the hard limit, the others go on."""
    stage.intake()
    stage.fault()
    mix = ",".join([*["crunch"] * 7, "hang"])
    stage.load("--mix", mix, "--rate", "20", FAULTS_LIMITED="1")
    stage.flows(100)
    stage.heal()
    stage.recovers()


@row(topology={**CHILDREN, "max_memory_per_child": "150MiB"})
def children_leak(stage: Stage) -> None:
    """One job in three keeps 10 MB for ever: children are replaced, and no job is lost."""
    crew = stage.load("--mix", "crunch,crunch,leak")
    for _ in range(3):
        stage.fault()
        for worker in crew:
            left = partial(_left, _children(worker), partial(_children, worker))
            until(left, f"all children of {worker.path.stem} to be replaced")
    stage.heal()
    stage.recovers()


def _children(worker: Process) -> list[int]:
    """The children of a worker's process server."""
    found: list[int] = []

    def there() -> bool:
        found[:] = [child for server in _below(worker.popen.pid) for child in _below(server)]
        return bool(found)

    until(there, f"children of {worker.path.stem}")
    return found


def _left(old: Iterable[int], now: Callable[[], Iterable[int]]) -> bool:
    return not {*old} & {*now()}


def _below(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(one) for task in tasks for one in (task / "children").read_text().split()]
    except OSError:  # it ended meanwhile
        return []
