"""The verdicts of the contest: ratios of medians of one run."""

from __future__ import annotations

import io

import pytest

from benchmarks import bars, table
from benchmarks.bars import BARS, DRAIN, US, Bar, Figure, medians, verdict

PEER = "Dramatiq, 8 threads"


def figures(*ours: float, peer: float, other: float = 1.0) -> list[Figure]:
    """Drains of ours, and of two peers."""
    found = [Figure(DRAIN, US, value, "/s") for value in ours]
    return [*found, Figure(DRAIN, PEER, peer, "/s"), Figure(DRAIN, "taskiq", other, "/s")]


def test_a_bar_is_a_ratio_of_medians_to_the_best_of_the_others() -> None:
    """One lucky round does not reach it."""
    bar = Bar("b", (DRAIN, US), 4, ((DRAIN, PEER), (DRAIN, "taskiq")))
    judged = verdict(bar, medians(figures(100.0, 399.0, 900.0, peer=100.0)))
    assert judged is not None
    assert (judged.got, judged.reached) == (3.99, False)
    judged = verdict(bar, medians(figures(400.0, peer=100.0)))
    assert judged is not None and judged.reached
    judged = verdict(bar, medians(figures(400.0, peer=50.0, other=101.0)))
    assert judged is not None and not judged.reached


@pytest.mark.parametrize(("got", "reached"), [(0.3, True), (0.31, False)])
def test_a_bar_may_be_a_limit_of_its_own(got: float, reached: bool) -> None:
    bar = Bar("b", (bars.COLD, US), 0.3, below=True)
    judged = verdict(bar, {(bars.COLD, US): got})
    assert judged is not None and judged.reached is reached


def test_less_is_better_where_the_bar_says_so() -> None:
    bar = Bar("b", (bars.P99, US), 1, ((bars.P99, PEER),), below=True)
    assert verdict(bar, {(bars.P99, US): 0.9, (bars.P99, PEER): 1.0}).reached  # type: ignore[union-attr]
    assert not verdict(bar, {(bars.P99, US): 1.1, (bars.P99, PEER): 1.0}).reached  # type: ignore[union-attr]


def test_a_bar_without_its_figures_has_no_verdict() -> None:
    assert all(verdict(bar, {}) is None for bar in BARS)


def test_the_table_shows_median_spread_and_verdicts() -> None:
    out = io.StringIO()
    table.show(figures(300.0, 500.0, 400.0, peer=100.0), out)
    said = out.getvalue()
    assert "| drain | rabbitjobs | 400/s | 300/s to 500/s |" in said
    assert "| drain, coroutines: Dramatiq | at least 4.00 | 4.00 | reached |" in said
    out = io.StringIO()
    table.show(figures(300.0, peer=100.0), out)
    assert "| 3.00 | MISSED |" in out.getvalue()


@pytest.mark.parametrize(("cores", "word"), [(2, "no verdict: 2 cores, it takes 4"), (4, "MISSED")])
def test_too_few_cores_for_a_bar_are_said_instead_of_a_verdict(cores: int, word: str) -> None:
    out = io.StringIO()
    two = Figure(bars.PROCESSES, f"{US}, 2", 110.0, "/s")
    table.show([Figure(DRAIN, US, 100.0, "/s"), two], out, cores)
    assert f"| two processes: one | at least 1.80 | 1.10 | {word} |" in out.getvalue()
