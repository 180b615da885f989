"""Tables: rich in a terminal, plain columns otherwise; foreign text is escaped in both."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import click

from rabbitjobs.monitor.logs import escape
from rabbitjobs.topology.draw import padded, width

STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def show(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    right: frozenset[str] = frozenset(),
    styles: Mapping[str, str] = STYLES,
) -> None:
    """Print a table; columns named in ``right`` are numbers. ``None`` is shown as a dash."""
    texts = [[_text(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _rich(columns, texts, right, styles)
    else:
        _plain(columns, texts, right)


def _text(cell: object) -> str:
    if cell is None:
        return "-"
    return f"{cell:,}" if isinstance(cell, int) else escape(str(cell))


def _rich(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: frozenset[str],
    styles: Mapping[str, str],
) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        # Text, not markup: a job's name may look like a tag.
        table.add_row(*(Text(cell, style=styles.get(cell, "")) for cell in row))
    Console().print(table)


def _plain(columns: Sequence[str], rows: Sequence[Sequence[str]], right: frozenset[str]) -> None:
    widths = [max(width(row[place]) for row in (columns, *rows)) for place in range(len(columns))]
    for row in (columns, *rows):
        cells = (
            padded(cell, size, right=column in right)
            for cell, size, column in zip(row, widths, columns, strict=True)
        )
        click.echo("  ".join(cells).rstrip())
