"""What is measured: each function is one row of one round, for one contestant."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from benchmarks import bars
from benchmarks.bars import Figure
from benchmarks.contest import Contestant, bout
from rabbitjobs.broker.node import Node


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much work a row is."""

    sends: int
    jobs: int
    fast_jobs: int
    trips: int


QUICK = Sizes(sends=3_000, jobs=6_000, fast_jobs=30_000, trips=400)
FULL = Sizes(sends=10_000, jobs=20_000, fast_jobs=100_000, trips=2_000)


def sends(
    node: Node, who: Contestant, row: str, command: str, count: int, name: str = ""
) -> Iterator[Figure]:
    """Messages a second into a quorum queue, persistent and confirmed."""
    with bout(node, who) as one:
        said = one.run(command, str(count))
        left = one.node.messages_total(one.vhost, who.queue)
        if left != said["sent"]:
            raise AssertionError(f"{who.name}: expected {said['sent']} messages, got {left}")
        yield Figure(row, name or who.name, said["timed"] / said["seconds"], "/s")


def drain(
    node: Node,
    who: Contestant,
    row: str,
    count: int,
    env: Mapping[str, str] | None = None,
    name: str = "",
) -> Iterator[Figure]:
    """Jobs a second of one worker process, and what they cost."""
    name = name or who.name
    with bout(node, who, env) as one:
        one.run(who.send, str(count))
        drained = one.drain()
        yield Figure(row, name, drained.rate, "/s")
        yield Figure(f"{row}, client CPU", name, drained.client_cpu, "s/10,000")
        yield Figure(f"{row}, broker CPU", name, drained.broker_cpu, "s/10,000")
        if row == bars.DRAIN:
            total = drained.client_cpu + drained.broker_cpu
            yield Figure(bars.CPU, name, total, "s/10,000")
            yield Figure(bars.RESIDENT, name, drained.resident, "MB")
            yield Figure(bars.COLD, name, drained.cold_start, "s")


def trips(
    node: Node, who: Contestant, command: str, count: int, env: Mapping[str, str] | None = None
) -> Iterator[Figure]:
    """Milliseconds from send to the running job, or (``results``) to its result."""
    rows = (bars.RESULT_P50, bars.RESULT_P99) if command == "results" else (bars.P50, bars.P99)
    with bout(node, who, env) as one, one.worker():
        said = one.run(command, str(count))
        yield Figure(rows[0], who.name, said["p50"], "ms")
        yield Figure(rows[1], who.name, said["p99"], "ms")


def importing() -> Iterator[Figure]:
    """Milliseconds for ``import rabbitjobs`` and ``RabbitJobs()`` in a fresh process."""
    program = (
        "import time; before = time.perf_counter(); import rabbitjobs; rabbitjobs.RabbitJobs(); "
        "print(time.perf_counter() - before)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    yield Figure(bars.IMPORT, bars.US, float(ran.stdout) * 1000, "ms")
