"""The contest as text: figures with their spread, then each bar with its verdict."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from statistics import median
from typing import TextIO

from benchmarks.bars import BARS, Bar, Figure, Verdict, medians, verdict


def line(figures: Sequence[Figure]) -> str:
    """What one measurement found: ``drain: rabbitjobs: 20,000/s; drain, client CPU: ...``."""
    said = [f"{one.row}: {_number(one.value, one.unit)}" for one in figures]
    return f"{figures[0].who}: {'; '.join(said)}"


def _number(value: float, unit: str) -> str:
    return f"{value:,.0f}{unit}" if unit == "/s" else f"{value:,.2f} {unit}"


def show(figures: Sequence[Figure], out: TextIO, cores: int | None = None) -> None:
    """Print both tables, as of a machine with so many ``cores`` (this one's)."""
    # By rows, and in each by contestants, as they came first.
    found: defaultdict[str, defaultdict[tuple[str, str], list[float]]]
    found = defaultdict(lambda: defaultdict(list))
    for figure in figures:
        found[figure.row][figure.who, figure.unit].append(figure.value)
    print("\n| row | who | median | lowest to highest |\n|---|---|---|---|", file=out)
    for row, contest in found.items():
        for (who, unit), values in contest.items():
            spread = f"{_number(min(values), unit)} to {_number(max(values), unit)}"
            print(f"| {row} | {who} | {_number(median(values), unit)} | {spread} |", file=out)
    print("\n| bar | wanted | got | |\n|---|---|---|---|", file=out)
    known = medians(figures)
    have = cores or os.cpu_count() or 1
    for bar in BARS:
        judged = verdict(bar, known)
        if judged is not None:
            print(
                f"| {bar.what} | {_wanted(bar)} | {judged.got:.2f} | {_word(judged, have)} |",
                file=out,
            )


def _word(judged: Verdict, cores: int) -> str:
    if cores < judged.bar.cores:
        return f"no verdict: {cores} cores, it takes {judged.bar.cores}"
    return "reached" if judged.reached else "MISSED"


def _wanted(bar: Bar) -> str:
    return f"{'at most' if bar.below else 'at least'} {bar.factor:.2f}"
