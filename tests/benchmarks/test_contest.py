"""A small run of our own side of the contest: figures of checked work, whatever they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

import pytest

from benchmarks import bars, field, rows
from benchmarks.bars import Figure
from benchmarks.contest import BenchError, bout
from benchmarks.desk_pages import desk_pages
from benchmarks.drain import Drained
from benchmarks.plan import DESK
from benchmarks.stores import SQLITE, check_results
from rabbitjobs.broker.node import Node

# Many processes, one after another: on a busy machine each start takes many seconds.
pytestmark = pytest.mark.timeout(360)

OURS = field.OURS
ROWS: dict[str, Callable[[Node], Iterable[Figure]]] = {
    bars.ASEND: lambda node: rows.sends(node, OURS, bars.ASEND, "asend", 60),
    bars.CPU: lambda node: rows.drain(node, OURS, 300),
    bars.DRAIN: lambda node: rows.drain(node, field.OURS_CHILDREN, 300),
    bars.RESULTS: lambda node: rows.results(
        node, field.OURS_THREADS, 300, bars.SQLITE, lambda: SQLITE
    ),
    bars.RESULT_P99: lambda node: rows.trips(node, OURS, "results", 10, lambda: SQLITE),
    bars.FAILING: lambda node: rows.failing(node, field.OURS_FAILING, 300, DESK),
    bars.backlog_clock(250): lambda node: rows.backlog(node, OURS, 250, 1),
    bars.payload_drain("100 kB"): lambda node: rows.payload(node, OURS, 100_000, "100 kB", 60),
    bars.PROCESSES: lambda node: rows.together(node, OURS, 1_000, 2),
    bars.IMPORT: lambda _node: rows.importing(),
    bars.DESK_PAGE: lambda _node: desk_pages(300),
}


@pytest.mark.parametrize("row", ROWS)
def test_our_side_of_a_row_can_be_measured(node: Node, row: str) -> None:
    """A little work, all of it checked: what failed is tried again or stands on the desk."""
    found = list(ROWS[row](node))
    assert row in {figure.row for figure in found}
    assert all(figure.value > 0 for figure in found if "CPU" not in figure.row)


def test_raw_pika_takes_part(node: Node) -> None:
    """It runs in the project's own environment."""
    blocking = list(rows.sends(node, field.PIKA_BLOCKING, bars.SEND, "send", 60))
    assert [figure.who for figure in blocking] == ["pika, blocking"]
    assert list(rows.drain(node, field.PIKA, 300))


def test_work_that_was_not_done_gives_no_figure(node: Node) -> None:
    """A message that is still there, a result that is not, a command that failed."""
    with bout(node, field.OURS, SQLITE) as one:
        one.run("send-many", "250")
        with pytest.raises(BenchError, match=r"got \{\} and \{'bench.q.coroutines': 250\}"):
            one.check()
        with pytest.raises(BenchError, match="expected 250 results, got 0"):
            check_results(one)
    broken = dataclasses.replace(field.OURS, command=("false",), prepare=())
    with bout(node, broken) as one, pytest.raises(BenchError):
        one.run("send", "1")


def test_memory_is_judged_by_its_second_and_last_quarter() -> None:
    """The first fills caches; a few readings say nothing."""
    drained = Drained(1.0, 1.0, 1.0, 1.0, [10.0] * 4 + [50.0] * 8 + [60.0] * 4)
    assert drained.growth == pytest.approx(1.2)
    assert dataclasses.replace(drained, memory=[50.0] * 11).growth is None
