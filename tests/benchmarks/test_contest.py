"""A small run of our own side of the contest: figures of checked work, whatever they are."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks import bars, field, rows
from benchmarks.contest import BenchError, bout
from benchmarks.drain import Drained
from benchmarks.plan import DESK
from benchmarks.stores import SQLITE, check_results
from rabbitjobs.broker.node import Node


def test_our_side_of_every_kind_of_row_can_be_measured(node: Node) -> None:
    """Sent one by one and together, worked off on the loop and on threads, there and back."""
    found = [
        *rows.sends(node, field.OURS, bars.SEND, "send", 60),
        *rows.sends(node, field.OURS, bars.ASEND, "asend", 60),
        *rows.drain(node, field.OURS, 300),
        *rows.results(node, field.OURS_THREADS, 300, bars.SQLITE, lambda: SQLITE),
        *rows.trips(node, field.OURS, "trip", 10),
        *rows.trips(node, field.OURS, "results", 10, lambda: SQLITE),
        *rows.importing(),
    ]
    assert all(figure.value > 0 for figure in found if "CPU" not in figure.row)
    assert {bars.SEND, bars.ASEND, bars.DRAIN, bars.RESULTS, bars.P50, bars.RESULT_P99} <= {
        figure.row for figure in found
    }


def test_failures_backlogs_payloads_and_two_processes_can_be_measured(node: Node) -> None:
    """What failed is tried again or on the desk; lots wait for one worker; two share a queue."""
    found = [
        *rows.failing(node, field.OURS_FAILING, 300, DESK),
        *rows.backlog(node, field.OURS, 250, 2),
        *rows.payload(node, field.OURS, 100_000, "100 kB", 60),
        *rows.together(node, field.OURS, 1_000, 2),
    ]
    assert all(figure.value > 0 for figure in found if "CPU" not in figure.row)
    assert [figure.who for figure in found if figure.row == bars.PROCESSES] == ["rabbitjobs, 2"]


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
