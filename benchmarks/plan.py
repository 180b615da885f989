"""One round of the contest: which rows, for whom, of how much work; peers and ours side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from benchmarks import bars, field, rows
from benchmarks.bars import Figure
from benchmarks.contest import Contestant
from benchmarks.desk_pages import desk_pages
from benchmarks.stores import SQLITE, Stores
from rabbitjobs.broker.node import Node

Measure = Callable[[], Iterator[Figure]]
Labelled = Iterator[tuple[str, Measure]]

DESK = "bench.review"
_PEERS = (field.CELERY, field.CELERY_PREFORK_2, field.DRAMATIQ, field.FASTSTREAM, field.TASKIQ)
_MORE = (field.DRAMATIQ_16, field.CELERY_SOLO, field.CELERY_THREADS)
_FAST = (
    field.OURS,
    field.OURS_THREADS,
    field.OURS_CHILDREN,
    field.PIKA,
    field.AIO_PIKA,
    field.NATIVE,
)

# Who sends how, in which row: each with a command of its own.
_SENDS = {
    bars.SEND: (
        (field.OURS, "send"),
        (field.PIKA_BLOCKING, "send"),
        (field.CELERY, "send"),
        (field.DRAMATIQ, "send"),
    ),
    bars.ASEND: (
        (field.OURS, "asend"),
        (field.PIKA, "asend"),
        (field.AIO_PIKA, "send"),
        (field.FASTSTREAM, "send"),
        (field.TASKIQ, "send"),
    ),
    bars.MANY: (
        (field.OURS, "send-many"),
        (field.PIKA, "send-many"),
        (field.AIO_PIKA, "send-many"),
        (field.NATIVE, "send"),
    ),
}
# (bytes, name, messages of those who pipeline, messages of others)
_PAYLOADS = (
    (200, "200 B", 50_000, 10_000),
    (10_000, "10 kB", 10_000, 5_000),
    (1_000_000, "1 MB", 300, 300),
)


@dataclass(frozen=True, slots=True)
class Round:
    """What a round needs: the broker, the databases, and how much work there shall be."""

    node: Node
    stores: Stores
    size: rows.Sizes
    quick: bool

    def plan(self) -> list[tuple[str, Measure]]:
        """(label, measurement) of every row."""
        short = [
            *self._sends(),
            *self._drains(),
            *self._results(),
            *self._trips(),
            *self._failing(),
            *self._rates(),
            ("import", rows.importing),
        ]
        if self.quick:
            return short
        desk = ("desk pages", partial(desk_pages, 100_000))
        return [*short, *self._payloads(), *self._backlogs(), desk]

    def _sends(self) -> Labelled:
        for row, contest in _SENDS.items():
            for who, command in contest:
                pipelined = row == bars.MANY and who is not field.AIO_PIKA
                count = self.size.fast if pipelined else self.size.sends
                yield f"{row}: {who.name}", partial(rows.sends, self.node, who, row, command, count)

    def _drains(self) -> Labelled:
        for who in (*_FAST, *_PEERS, *(() if self.quick else _MORE)):
            count = self.size.fast if who in _FAST else self.size.slow
            yield f"{bars.DRAIN}: {who.name}", partial(rows.drain, self.node, who, count)
        yield (
            f"{bars.PROCESSES}: 2",
            partial(rows.together, self.node, field.OURS, self.size.fast, 2),
        )

    def _results(self) -> Labelled:
        fast, slow = self.size.fast, self.size.slow
        for who, count, where, env in (
            (field.OURS, fast, bars.SQLITE, lambda: SQLITE),
            (field.OURS, fast, bars.POSTGRES, self.stores.in_postgres),
            (field.OURS_THREADS, fast, bars.SQLITE, lambda: SQLITE),
            (field.CELERY_SOLO, slow, bars.REDIS, self.stores.in_redis),
            (field.DRAMATIQ, slow, bars.REDIS, self.stores.in_redis),
        ):
            yield (
                f"{bars.RESULTS}: {who.name}, {where}",
                partial(rows.results, self.node, who, count, where, env),
            )

    def _trips(self) -> Labelled:
        more = () if self.quick else (field.OURS_THREADS, field.CELERY_SOLO)
        contest = (field.OURS, field.DRAMATIQ, *more)
        for who in (*contest, *(() if self.quick else (field.FASTSTREAM, field.TASKIQ))):
            yield (
                f"{bars.P50}: {who.name}",
                partial(rows.trips, self.node, who, "trip", self.size.trips),
            )
        for who in contest:
            env = (lambda: SQLITE) if who.prepare else self.stores.in_redis
            yield (
                f"{bars.RESULT_P50}: {who.name}",
                partial(rows.trips, self.node, who, "results", self.size.trips, env),
            )
        yield (
            f"{bars.RESULT_P50}: {bars.DRAMATIQ_ON_DISK}",
            partial(
                rows.trips,
                *(self.node, replace(field.DRAMATIQ, name=bars.DRAMATIQ_ON_DISK), "results"),
                *(self.size.trips, self.stores.in_redis_on_disk),
            ),
        )

    def _failing(self) -> Labelled:
        peers: tuple[tuple[Contestant, str | None], ...] = (
            (field.OURS_FAILING, DESK),
            (field.DRAMATIQ, None),
            (field.CELERY_SOLO, None),
        )
        for who, desk in peers:
            yield (
                f"{bars.FAILING}: {who.name}",
                partial(rows.failing, self.node, who, self.size.slow, desk),
            )

    def _rates(self) -> Labelled:
        stores = ((bars.SQLITE, lambda: SQLITE), (bars.POSTGRES, self.stores.in_postgres))
        for where, env in stores[:1] if self.quick else stores:
            yield (
                f"{bars.FLEET_RATE}: {where}",
                partial(rows.fleet_rate, self.node, field.OURS_RATED, 4, 30.0, where, env),
            )

    def _payloads(self) -> Labelled:
        for size, name, many, few in _PAYLOADS:
            for who, count in ((field.OURS, many), (field.PIKA, many), (field.DRAMATIQ, few)):
                yield (
                    f"payload {name}: {who.name}",
                    partial(rows.payload, self.node, who, size, name, count),
                )

    def _backlogs(self) -> Labelled:
        for size in bars.BACKLOGS:
            short = partial(rows.backlog, self.node, field.OURS, size, self.size.in_lots // size)
            long = partial(rows.long_backlog, self.node, field.OURS, size)
            yield f"backlog {size}", short if size < self.size.in_lots else long
