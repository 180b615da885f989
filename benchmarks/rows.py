"""What is measured: each function is one row of one round, for one contestant."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from benchmarks import bars
from benchmarks.bars import Figure
from benchmarks.contest import BenchError, Contestant, bout
from benchmarks.drain import Drained, drain_lots
from benchmarks.drain import drain as work_off
from benchmarks.stores import check_results
from rabbitjobs.broker.node import Node


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much work a row is; ``slow`` is for those who need milliseconds where others need a few
    microseconds. Backlogs shorter than ``in_lots`` are worked off again and again, up to that.
    """

    sends: int
    slow: int
    fast: int
    trips: int
    in_lots: int = 30_000


# Of the queue ``rated``, in starts a second; measured when every process has started.
RATE = 200
RATE_WARM_SECONDS = 5.0
RATE_MORE_SECONDS = 10.0

QUICK = Sizes(sends=1_000, slow=2_000, fast=20_000, trips=200)
FULL = Sizes(sends=5_000, slow=10_000, fast=100_000, trips=1_000)


def sends(node: Node, who: Contestant, row: str, command: str, count: int) -> Iterator[Figure]:
    """Messages a second into a quorum queue, persistent and confirmed."""
    with bout(node, who) as one:
        said = one.run(command, str(count))
        left = one.node.messages_total(one.vhost, who.queue)
        if left != said["sent"]:
            raise BenchError(f"{who.name}: expected {said['sent']} messages, got {left}")
        yield Figure(row, who.name, said["timed"] / said["seconds"], "/s")


def drain(node: Node, who: Contestant, count: int) -> Iterator[Figure]:
    """No-op jobs a second of one worker process, and what they and it cost."""
    with bout(node, who) as one:
        one.run(who.send, str(count))
        drained = work_off(one)
    yield from _drained(bars.DRAIN, who.name, drained)
    total = drained.client_cpu + drained.broker_cpu
    yield Figure(bars.CPU, who.name, total, "s/10,000")
    yield Figure(bars.RESIDENT, who.name, drained.memory[-1], "MB")
    yield Figure(bars.COLD, who.name, drained.cold_start, "s")


def _drained(row: str, name: str, drained: Drained) -> Iterator[Figure]:
    yield Figure(row, name, drained.rate, "/s")
    yield Figure(f"{row}, client CPU", name, drained.client_cpu, "s/10,000")
    yield Figure(f"{row}, broker CPU", name, drained.broker_cpu, "s/10,000")


def together(node: Node, who: Contestant, count: int, workers: int) -> Iterator[Figure]:
    """No-op jobs a second of several worker processes on one queue."""
    with bout(node, who) as one:
        one.run(who.send, str(count))
        yield from _drained(bars.PROCESSES, f"{who.name}, {workers}", work_off(one, workers))


def fleet_rate(
    node: Node,
    who: Contestant,
    workers: int,
    seconds: float,
    where: str,
    env: Callable[[], Mapping[str, str]],
) -> Iterator[Figure]:
    """Starts of a rated queue's jobs, in several processes, over what the rate allows."""
    count = round(RATE * (seconds + RATE_MORE_SECONDS))
    with bout(node, who, env()) as one:
        one.run(who.send, str(count))
        with one.workers(workers) as running:
            one.until(round(RATE * RATE_WARM_SECONDS), running)
            have, begun = one.marked(), time.perf_counter()
            time.sleep(seconds)
            got = (one.marked() - have) / (time.perf_counter() - begun)
            one.until(count, running)
            one.settle()
        one.check()
    yield Figure(bars.FLEET_RATE, f"{who.name}, {where}", got / RATE, "x")


def results(
    node: Node, who: Contestant, count: int, where: str, env: Callable[[], Mapping[str, str]]
) -> Iterator[Figure]:
    """The drain with every result stored: each of them is counted afterwards."""
    with bout(node, who, env()) as one:
        one.run(who.send, str(count))
        drained = work_off(one)
        check_results(one)
    yield from _drained(bars.RESULTS, f"{who.name}, {where}", drained)


def payload(node: Node, who: Contestant, size: int, name: str, count: int) -> Iterator[Figure]:
    """Sending (pipelined by who can), then the drain, of messages of ``size`` bytes."""
    with bout(node, who, {"BENCH_PAYLOAD": str(size)}) as one:
        said = one.run(who.send, str(count))
        yield Figure(bars.payload_send(name), who.name, said["timed"] / said["seconds"], "/s")
        yield Figure(bars.payload_drain(name), who.name, work_off(one).rate, "/s")


def failing(node: Node, who: Contestant, count: int, desk: str | None = None) -> Iterator[Figure]:
    """Jobs a second until each has its ending: of a hundred ten fail once and are tried again.

    With a ``desk``, a queue for review, one more of the hundred goes there at once.
    """
    hopeless = sum(number % 100 == 55 for number in range(count)) if desk else 0
    with bout(node, who, {"BENCH_FAILING": "1"}) as one:
        one.run("send-failing", str(count))
        one.expected.update({"f": (count + 9) // 10, "h": hopeless, ".": -hopeless})
        one.left = {desk: hopeless} if desk and hopeless else {}
        marks = one.expected.total()
        drained = work_off(one)
    yield Figure(bars.FAILING, who.name, drained.rate * count / marks, "/s")
    cost = (drained.client_cpu + drained.broker_cpu) * marks / count
    yield Figure(f"{bars.FAILING}, CPU", who.name, cost, "s/10,000")


def backlog(node: Node, who: Contestant, size: int, lots: int) -> Iterator[Figure]:
    """What a job costs when ``lots`` times ``size`` of them wait, one lot after the other."""
    with bout(node, who) as one:
        clock, cpu = drain_lots(one, size, lots)
    yield from _cost(size, who.name, clock, cpu)


def long_backlog(node: Node, who: Contestant, size: int) -> Iterator[Figure]:
    """The same for so many that a fresh worker is warm after the first few; and its memory."""
    with bout(node, who) as one:
        said = one.run(who.send, str(size))
        drained = work_off(one)
    yield Figure(bars.backlog_send(size), who.name, said["timed"] / said["seconds"], "/s")
    cpu = drained.client_cpu + drained.broker_cpu
    yield from _cost(size, who.name, 10_000 / drained.rate, cpu)
    if drained.growth is not None:
        yield Figure(bars.backlog_memory(size), who.name, drained.growth, "x")


def _cost(size: int, name: str, clock: float, cpu: float) -> Iterator[Figure]:
    yield Figure(bars.backlog_clock(size), name, clock, "s/10,000")
    yield Figure(bars.backlog_cpu(size), name, cpu, "s/10,000")


def trips(
    node: Node,
    who: Contestant,
    command: str,
    count: int,
    env: Callable[[], Mapping[str, str]] = dict,
) -> Iterator[Figure]:
    """Milliseconds from send to the running job, or (``results``) to its result."""
    rows = (bars.RESULT_P50, bars.RESULT_P99) if command == "results" else (bars.P50, bars.P99)
    with bout(node, who, env()) as one, one.workers():
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
