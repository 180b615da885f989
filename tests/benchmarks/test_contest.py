"""A small run of our own side of the contest: figures of checked work, whatever they are."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks import bars, field, rows
from benchmarks.contest import BenchError, bout
from rabbitjobs.broker.node import Node

STORE = {"BENCH_STORE": "sqlite:///{folder}/store.db"}


def test_our_side_of_every_kind_of_row_can_be_measured(node: Node) -> None:
    """Sent one by one and together, worked off on the loop and on threads, there and back."""
    found = [
        *rows.sends(node, field.OURS, bars.SEND, "send", 60),
        *rows.sends(node, field.OURS, bars.ASEND, "asend", 60),
        *rows.drain(node, field.OURS, bars.DRAIN, 300),
        *rows.drain(node, field.OURS_THREADS, bars.RESULTS, 300, STORE),
        *rows.trips(node, field.OURS, "trip", 10),
        *rows.trips(node, field.OURS, "results", 10, STORE),
        *rows.importing(),
    ]
    assert all(figure.value > 0 for figure in found if "CPU" not in figure.row)
    assert {bars.SEND, bars.ASEND, bars.DRAIN, bars.RESULTS, bars.P50, bars.RESULT_P99} <= {
        figure.row for figure in found
    }


def test_raw_pika_takes_part(node: Node) -> None:
    """It runs in the project's own environment."""
    blocking = list(rows.sends(node, field.PIKA_BLOCKING, bars.SEND, "send", 60))
    assert [figure.who for figure in blocking] == ["pika, blocking"]
    assert list(rows.drain(node, field.PIKA, bars.DRAIN, 300))


def test_work_that_was_not_done_gives_no_figure(node: Node) -> None:
    """A message that is still there, or one mark too many."""
    with bout(node, field.OURS) as one:
        one.run("send-many", "250")
        with pytest.raises(
            BenchError, match="expected 250 marks and an empty queue, got 0 and 250"
        ):
            one.check()
    broken = dataclasses.replace(field.OURS, command=("false",), prepare=())
    with bout(node, broken) as one, pytest.raises(BenchError):
        one.run("send", "1")
