"""The bars: each a ratio of two medians of one run. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement: of ``row``, by ``who``, in ``unit``."""

    row: str
    who: str
    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class Bar:
    """``ours`` must be at least ``factor`` times the best of ``others`` (at most, if ``below``).

    Without others the factor is the limit itself, in the row's unit. With fewer than ``cores`` the
    machine cannot tell.
    """

    what: str
    ours: tuple[str, str]
    factor: float
    others: tuple[tuple[str, str], ...] = ()
    below: bool = False
    cores: int = 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a bar; ``got`` is the ratio (or the figure, where the bar is absolute)."""

    bar: Bar
    got: float
    reached: bool


Medians = dict[tuple[str, str], float]


def medians(figures: Iterable[Figure]) -> Medians:
    """The median of each row and contestant over the rounds."""
    found: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for figure in figures:
        found[figure.row, figure.who].append(figure.value)
    return {key: median(values) for key, values in found.items()}


def verdict(bar: Bar, known: Medians) -> Verdict | None:
    """Whether a bar was reached; ``None`` if a figure that it needs was not measured."""
    if bar.ours not in known or any(other not in known for other in bar.others):
        return None
    ours = known[bar.ours]
    if not bar.others:
        return Verdict(bar, ours, ours <= bar.factor if bar.below else ours >= bar.factor)
    best = (min if bar.below else max)(known[other] for other in bar.others)
    ratio = ours / best
    return Verdict(bar, ratio, ratio <= bar.factor if bar.below else ratio >= bar.factor)


SEND, ASEND, MANY = "send, each awaited", "asend, each awaited", "send, pipelined"
DRAIN, RESULTS, PROCESSES = "drain", "drain, results stored", "drain by processes"
FAILING = "10 % retried, 1 % to review"
P50, P99 = "round trip p50", "round trip p99"
RESULT_P50, RESULT_P99 = "send to result p50", "send to result p99"
CPU, COLD, IMPORT, RESIDENT = "CPU of client and broker", "cold start", "import", "resident"
DESK_PAGE, SLOWEST = "page of the desk with 100,000 cases", "the slowest of them"
FLEET_RATE = "rate of 4 processes over 30 s"
US, THREADS, CHILDREN = "rabbitjobs", "rabbitjobs, threads", "rabbitjobs, 2 children"
SQLITE, POSTGRES = "SQLite WAL synchronous=FULL", "PostgreSQL synchronous_commit=on"
REDIS, REDIS_ON_DISK = "Redis", "Redis appendfsync=always"

BACKLOGS = (1_000, 10_000, 100_000, 1_000_000)
LEAST, MOST = BACKLOGS[0], BACKLOGS[-1]
FLAT = 1.3
"""What a job may cost with the longest backlog, over what it costs with the shortest."""
FLAT_MEMORY = 1.05


def payload_send(name: str) -> str:
    """The row of sending messages of a size."""
    return f"send, payload {name}"


def payload_drain(name: str) -> str:
    """The row of working them off."""
    return f"drain, payload {name}"


def backlog_send(size: int) -> str:
    """The row of sending so many."""
    return f"send, pipelined, {size:,} jobs"


def backlog_clock(size: int) -> str:
    """The row of the time that jobs take, of so many that wait."""
    return f"backlog of {size:,}, clock"


def backlog_cpu(size: int) -> str:
    """The row of the CPU, of client and broker, that they take."""
    return f"backlog of {size:,}, CPU"


def backlog_memory(size: int) -> str:
    """The row of a worker's memory, late over early."""
    return f"backlog of {size:,}, memory late/early"


_DRAMATIQ = "Dramatiq, 8 threads"
DRAMATIQ_ON_DISK = f"{_DRAMATIQ}, {REDIS_ON_DISK}"
_RESULTS_PEER = ((RESULTS, f"Celery, solo, {REDIS}"),)
_ENQUEUES = (
    (SEND, "Celery, prefork 1"),
    (SEND, _DRAMATIQ),
    (ASEND, "FastStream"),
    (ASEND, "taskiq"),
)
BARS = (
    Bar("send: raw pika, blocking", (SEND, US), 0.8, ((SEND, "pika, blocking"),)),
    Bar("send: Celery's enqueue", (SEND, US), 1.5, ((SEND, "Celery, prefork 1"),)),
    Bar("asend: raw pika, asyncio", (ASEND, US), 0.8, ((ASEND, "pika, asyncio"),)),
    Bar("asend: Celery's enqueue", (ASEND, US), 1.5, ((SEND, "Celery, prefork 1"),)),
    Bar("send_many: raw pika, asyncio", (MANY, US), 0.7, ((MANY, "pika, asyncio"),)),
    Bar("send_many: the fastest peer's enqueue", (MANY, US), 6, _ENQUEUES),
    Bar("drain, coroutines: Dramatiq", (DRAIN, US), 4, ((DRAIN, _DRAMATIQ),)),
    Bar("drain, coroutines: Celery prefork", (DRAIN, US), 9, ((DRAIN, "Celery, prefork 1"),)),
    Bar("drain, threads: Dramatiq", (DRAIN, THREADS), 2, ((DRAIN, _DRAMATIQ),)),
    Bar(
        "drain, 2 children: Celery prefork 2", (DRAIN, CHILDREN), 2, ((DRAIN, "Celery, prefork 2"),)
    ),
    Bar("drain, SQLite: Celery, Redis", (RESULTS, f"{US}, {SQLITE}"), 4, _RESULTS_PEER),
    Bar("drain, PostgreSQL: Celery, Redis", (RESULTS, f"{US}, {POSTGRES}"), 4, _RESULTS_PEER),
    Bar("round trip p50: Dramatiq", (P50, US), 1, ((P50, _DRAMATIQ),), below=True),
    Bar("round trip p99: Dramatiq", (P99, US), 1, ((P99, _DRAMATIQ),), below=True),
    *(
        Bar(f"{row}: Dramatiq, {where}", (row, US), 1, ((row, peer),), below=True)
        for where, peer in (("Redis", _DRAMATIQ), ("Redis on disk", DRAMATIQ_ON_DISK))
        for row in (RESULT_P50, RESULT_P99)
    ),
    Bar("rate, SQLite: 90 % of it", (FLEET_RATE, f"{US}, {SQLITE}"), 0.9),
    Bar("rate, SQLite: 110 % of it", (FLEET_RATE, f"{US}, {SQLITE}"), 1.1, below=True),
    Bar("rate, PostgreSQL: 90 % of it", (FLEET_RATE, f"{US}, {POSTGRES}"), 0.9),
    Bar("rate, PostgreSQL: 110 % of it", (FLEET_RATE, f"{US}, {POSTGRES}"), 1.1, below=True),
    Bar("CPU: a third of Dramatiq's", (CPU, US), 1 / 3, ((CPU, _DRAMATIQ),), below=True),
    Bar("cold start, seconds", (COLD, US), 0.3, below=True),
    Bar("import, milliseconds", (IMPORT, US), 120, below=True),
    Bar("resident, MB", (RESIDENT, US), 60, below=True),
    Bar("page of the desk, milliseconds", (DESK_PAGE, SLOWEST), 200, below=True),
    Bar(
        f"clock for a job, {MOST:,} waiting: {LEAST:,} waiting",
        (backlog_clock(MOST), US),
        FLAT,
        ((backlog_clock(LEAST), US),),
        below=True,
    ),
    Bar(
        f"CPU for a job, {MOST:,} waiting: {LEAST:,} waiting",
        (backlog_cpu(MOST), US),
        FLAT,
        ((backlog_cpu(LEAST), US),),
        below=True,
    ),
    Bar(
        f"memory over {MOST:,} jobs: last quarter over second",
        (backlog_memory(MOST), US),
        FLAT_MEMORY,
        below=True,
    ),
    Bar("send_many of 1,000,000: of 100,000", (backlog_send(MOST), US), 1 / FLAT, ((MANY, US),)),
    Bar("two processes: one", (PROCESSES, f"{US}, 2"), 1.8, ((DRAIN, US),), cores=4),
)
