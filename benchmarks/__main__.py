"""``python -m benchmarks [--quick] [--rounds N] [--only TEXT]``: the contest and its table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial

from benchmarks import bars, field, machine, rows, table
from benchmarks.bars import Figure
from benchmarks.redis import redis_server
from rabbitjobs.broker.node import Node

Measure = Callable[[], Iterator[Figure]]


def plan(node: Node, size: rows.Sizes, redis: str, *, quick: bool) -> list[tuple[str, Measure]]:
    """One round: (label, measurement), peers and ours side by side."""
    return [
        *_sends(node, size),
        *_drains(node, size, quick=quick),
        *_results(node, size, redis),
        *_trips(node, size, redis),
        ("import", rows.importing),
    ]


def _sends(node: Node, size: rows.Sizes) -> Iterator[tuple[str, Measure]]:
    few, many = size.sends, size.fast_jobs
    for who, row, command, count, name in (
        (field.OURS, bars.SEND, "send", few, ""),
        (field.PIKA_BLOCKING, bars.SEND, "send", few, ""),
        (field.CELERY, bars.SEND, "send", few, ""),
        (field.DRAMATIQ, bars.SEND, "send", few, ""),
        (field.OURS, bars.ASEND, "asend", few, ""),
        (field.PIKA, bars.ASEND, "asend", few, ""),
        (field.AIO_PIKA, bars.ASEND, "send", few, ""),
        (field.FASTSTREAM, bars.ASEND, "send", few, ""),
        (field.TASKIQ, bars.ASEND, "send", few, ""),
        (field.OURS, bars.MANY, "send-many", many, ""),
        (field.PIKA, bars.MANY, "send-many", many, ""),
        (field.AIO_PIKA, bars.MANY, "send-many", few, ""),
        (field.NATIVE, bars.MANY, "send", many, ""),
    ):
        yield f"{row}: {who.name}", partial(rows.sends, node, who, row, command, count, name)


def _drains(node: Node, size: rows.Sizes, *, quick: bool) -> Iterator[tuple[str, Measure]]:
    peers = [field.CELERY, field.DRAMATIQ, field.FASTSTREAM, field.TASKIQ]
    if not quick:
        peers += [field.CELERY_PREFORK_2, field.CELERY_SOLO, field.CELERY_THREADS]
    fast = [field.OURS, field.OURS_THREADS, field.PIKA, field.AIO_PIKA, field.NATIVE]
    for who, count in [(one, size.fast_jobs) for one in fast] + [(one, size.jobs) for one in peers]:
        yield f"{bars.DRAIN}: {who.name}", partial(rows.drain, node, who, bars.DRAIN, count)


def _results(node: Node, size: rows.Sizes, redis: str) -> Iterator[tuple[str, Measure]]:
    sqlite = {"BENCH_STORE": "sqlite:///{folder}/store.db"}
    in_redis = {"BENCH_REDIS": redis}
    for who, count, env in (
        (field.OURS, size.fast_jobs, sqlite),
        (field.OURS_THREADS, size.fast_jobs, sqlite),
        (field.CELERY_SOLO, size.jobs, in_redis),
        (field.DRAMATIQ, size.jobs, in_redis),
    ):
        yield (
            f"{bars.RESULTS}: {who.name}",
            partial(rows.drain, node, who, bars.RESULTS, count, env),
        )


def _trips(node: Node, size: rows.Sizes, redis: str) -> Iterator[tuple[str, Measure]]:
    sqlite = {"BENCH_STORE": "sqlite:///{folder}/store.db"}
    in_redis = {"BENCH_REDIS": redis}
    contest = (field.OURS, field.OURS_THREADS, field.DRAMATIQ, field.CELERY_SOLO)
    for who in (*contest, field.FASTSTREAM, field.TASKIQ):
        yield f"{bars.P50}: {who.name}", partial(rows.trips, node, who, "trip", size.trips)
    for who in contest:
        env = sqlite if who.prepare else in_redis
        yield (
            f"{bars.RESULT_P50}: {who.name}",
            partial(rows.trips, node, who, "results", size.trips, env),
        )


def main() -> int:
    """Run it; the exit code is 0 when every row could be measured, whatever the verdicts."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="rows whose label contains this text")
    given = parser.parse_args()
    size = rows.QUICK if given.quick else rows.FULL
    figures: list[Figure] = []
    with redis_server() as redis, Node(version="4.3") as node:
        print(f"{machine.describe()}; RabbitMQ {node.version}")
        for number in range(given.rounds):
            for label, measure in plan(node, size, redis, quick=given.quick):
                if given.only not in label:
                    continue
                for figure in measure():
                    figures.append(figure)
                    print(f"{number + 1} {figure.row}: {figure.who}: {table.number(figure)}")
    table.show(figures, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
