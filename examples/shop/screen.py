"""What the demo shows: a live table in a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from examples.shop.ledger import RESTING, Ledger

BETWEEN_LINES = 2.0
INDENT = " " * 11
WIDTH = 132  # where no terminal says its own
MOVING = ("running", "retrying")


class Screen:
    """The demo's output. Progress comes as often as it likes; without a terminal few lines show."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        if not self.console.is_terminal:
            self.console.width = WIDTH
        self._begun = time.monotonic()
        self._said = 0.0
        self._live: Live | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.settle()

    def say(self, text: str) -> None:
        """Print one line, with the seconds since the start."""
        self.console.print(f"[dim]{time.monotonic() - self._begun:5.1f} s[/dim]  {text}")

    def quote(self, text: str, lines: int) -> None:
        """Print the first lines of what a command printed, indented."""
        for line in text.splitlines()[:lines]:
            self.console.print(f"{INDENT}{line}", markup=False, overflow="ellipsis", no_wrap=True)

    def progress(self, orders: int, counts: Mapping[str, Counter[str]]) -> None:
        """Show how many jobs of each kind are where."""
        if self.console.is_terminal:
            if self._live is None:
                self._live = Live(console=self.console, transient=True)
                self._live.start()
            self._live.update(_progress_table(orders, counts))
        elif time.monotonic() - self._said >= BETWEEN_LINES:
            self._said = time.monotonic()
            self.say(_progress_line(orders, counts))

    def settle(self) -> None:
        """Take the live table away; what was said stays."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def show(self, ledger: Ledger) -> None:
        """Print the conservation table and what the world and the broker say to it."""
        self.settle()
        self.console.print(_jobs_table(ledger), _world_table(ledger), _broker_line(ledger))


def _progress_table(orders: int, counts: Mapping[str, Counter[str]]) -> Table:
    table = Table("job", *MOVING, *RESTING[:3], title=f"{orders} orders sent")
    for kind, states in counts.items():
        table.add_row(kind, *(str(states[state] or "") for state in (*MOVING, *RESTING[:3])))
    return table


def _progress_line(orders: int, counts: Mapping[str, Counter[str]]) -> str:
    parts = [
        f"{kind} {states['succeeded']} done"
        + "".join(f", {states[s]} {s}" for s in ("retrying", "ignored", "in-review") if states[s])
        for kind, states in counts.items()
    ]
    return f"{orders} orders sent; " + "; ".join(parts)


def _jobs_table(ledger: Ledger) -> Table:
    shown = [s for s in RESTING if any(s in b.resting for b in ledger.jobs.values())]
    table = Table(
        "job", "sent", *("= " + shown[0], *("+ " + s for s in shown[1:])) if shown else ()
    )
    table.title = "Conservation: every job that was sent, by where it rests"
    for column in ("unfinished", "lost", "unexpected", "holds"):
        table.add_column(column)
    for kind, sums in ledger.jobs.items():
        table.add_row(
            kind,
            str(sums.sent),
            *(str(sums.resting.get(state, 0)) for state in shown),
            str(len(sums.unfinished)),
            str(len(sums.lost)),
            str(len(sums.unexpected) + len(sums.sent_twice)),
            _verdict(sums.holds),
        )
    return table


def _world_table(ledger: Ledger) -> Table:
    table = Table(
        "outside", "done in the store", "seen", "more than once", "missing", "unexplained"
    )
    table.title = "The world outside, against the store"
    table.add_column("in order")
    table.add_column("holds")
    for one in ledger.world:
        numbers = (one.done, one.seen, len(one.repeated), len(one.missing), len(one.unexplained))
        table.add_row(one.what, *map(str, numbers), _verdict(one.in_order), _verdict(one.holds))
    return table


def _broker_line(ledger: Ledger) -> str:
    wrong = [f"{left.queue} holds {left.held}, expected {left.expected}" for left in ledger.broker]
    wrong = [text for text, left in zip(wrong, ledger.broker, strict=True) if not left.holds]
    kept = ", ".join(f"{left.held} in {left.queue}" for left in ledger.broker if left.held)
    total = (
        f"The broker holds, by its exact count of {len(ledger.broker)} queues: {kept or 'nothing'}."
    )
    return total + ("" if not wrong else " [red]" + "; ".join(wrong) + "[/red]")


def _verdict(holds: bool | None) -> str:
    if holds is None:
        return ""
    return "[green]yes[/green]" if holds else "[red]NO[/red]"
