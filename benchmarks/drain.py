"""Working off what waits: how fast, and at what cost."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.contest import Bout, Worker
from benchmarks.machine import cpu_seconds, resident_megabytes

ACKS_SECONDS = 0.1
METER_SECONDS = 0.1
# Fewer readings have no quarters whose medians mean anything.
FEWEST = 12


@dataclass(frozen=True, slots=True)
class Drained:
    """How workers worked off what waited; CPU seconds are for 10,000 jobs, ``memory`` in MB."""

    rate: float
    client_cpu: float
    broker_cpu: float
    cold_start: float
    memory: Sequence[float]

    @property
    def growth(self) -> float | None:
        """Memory in the last quarter of the time over that in the second; the first fills caches.

        ``None`` if it took too short a time to say.
        """
        quarter = len(self.memory) // 4
        if len(self.memory) < FEWEST:
            return None
        return median(self.memory[-quarter:]) / median(self.memory[quarter : 2 * quarter])


def drain(bout: Bout, workers: int = 1) -> Drained:
    """Work off all that was sent; every mark is counted, and the queues at the end.

    One worker is timed from its first mark. Of several the slowest to start may be late: they are
    timed from a tenth of the marks.
    """
    wanted = sum(bout.expected.values())
    memory: list[float] = []
    started = time.perf_counter()
    with bout.workers(workers) as running:
        bout.until(1, running)
        cold_start = time.perf_counter() - started
        bout.until(1 if workers == 1 else wanted // 10, running)
        first, have = time.perf_counter(), bout.marked()
        cpu, broker = _cpu(running), bout.broker_cpu()

        def look() -> None:
            if time.perf_counter() - first >= METER_SECONDS * len(memory):
                memory.append(_resident(running))

        bout.until(wanted, running, look)
        seconds = time.perf_counter() - first
        jobs = max(wanted - have, 1)
        drained = Drained(
            rate=jobs / seconds,
            client_cpu=(_cpu(running) - cpu) / jobs * 10_000,
            broker_cpu=(bout.broker_cpu() - broker) / jobs * 10_000,
            cold_start=cold_start,
            memory=[*memory, _resident(running)],
        )
        bout.settle()
    bout.check()
    return drained


def drain_lots(bout: Bout, size: int, lots: int) -> tuple[float, float]:
    """Seconds by the clock, and of CPU, for 10,000 jobs, in lots that wait for a warm worker.

    The worker is stopped while a lot is sent. Two lots more warm it up and are not counted.
    """
    clock = cpu = 0.0
    with bout.workers() as running:
        for number in range(-2, lots):
            running[0].send_signal(signal.SIGSTOP)
            bout.run(bout.contestant.send, str(size))
            used = _cpu(running) + bout.broker_cpu()
            before = time.perf_counter()
            running[0].send_signal(signal.SIGCONT)
            bout.until(bout.expected["."], running)
            seconds = time.perf_counter() - before
            time.sleep(ACKS_SECONDS)  # the last acks are part of the price
            if number >= 0:
                clock += seconds
                cpu += _cpu(running) + bout.broker_cpu() - used
        bout.settle()
    bout.check()
    return clock / (size * lots) * 10_000, cpu / (size * lots) * 10_000


def _cpu(workers: Sequence[Worker]) -> float:
    return sum(cpu_seconds(worker.pid) for worker in workers)


def _resident(workers: Sequence[Worker]) -> float:
    return sum(resident_megabytes(worker.pid) for worker in workers)
