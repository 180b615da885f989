"""The contest as text: figures with their spread, then each bar with its verdict."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import median
from typing import TextIO

from benchmarks.bars import BARS, Bar, Figure, medians, verdict


def number(figure: Figure) -> str:
    """A figure with its unit."""
    return _number(figure.value, figure.unit)


def _number(value: float, unit: str) -> str:
    return f"{value:,.0f}{unit}" if unit == "/s" else f"{value:,.2f} {unit}"


def show(figures: Sequence[Figure], out: TextIO) -> None:
    """Print both tables."""
    found: defaultdict[tuple[str, str, str], list[float]] = defaultdict(list)
    for figure in figures:
        found[figure.row, figure.who, figure.unit].append(figure.value)
    print("\n| row | who | median | lowest to highest |\n|---|---|---|---|", file=out)
    for (row, who, unit), values in sorted(found.items()):
        spread = f"{_number(min(values), unit)} to {_number(max(values), unit)}"
        print(f"| {row} | {who} | {_number(median(values), unit)} | {spread} |", file=out)
    print("\n| bar | wanted | got | |\n|---|---|---|---|", file=out)
    known = medians(figures)
    for bar in BARS:
        judged = verdict(bar, known)
        if judged is not None:
            word = "reached" if judged.reached else "MISSED"
            print(f"| {bar.what} | {_wanted(bar)} | {judged.got:.2f} | {word} |", file=out)


def _wanted(bar: Bar) -> str:
    return f"{'at most' if bar.below else 'at least'} {bar.factor:.2f}"
