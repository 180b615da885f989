"""The supervisor's table in a terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table as RichTable
from rich.text import Text

from rabbitjobs.monitor.logs import escape
from rabbitjobs.process.child import Child

_STYLE = {"consuming": "green", "starting": "yellow", "waiting": "yellow", "stopping": "yellow"}


class Table:
    """A live table on stderr: log lines scroll above it."""

    def __init__(self) -> None:
        self._live = Live(console=Console(stderr=True), auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def show(self, children: Sequence[Child], said: Sequence[str] = ()) -> None:
        """Print what the processes said above the table, and draw where each stands now."""
        for line in said:
            self._live.console.print(Text.from_ansi(line))
        table = RichTable("process", "pid", "state", "up", "restarts", "why", box=None)
        for child in children:
            up = f"{time.monotonic() - child.since:.0f} s" if child.pid else ""
            table.add_row(
                child.name,
                str(child.pid or ""),
                Text(child.state, style=_STYLE.get(child.state, "red")),
                up,
                str(child.restarts or ""),
                Text(escape(child.reason)),
            )
        self._live.update(table, refresh=True)
