"""How `rabbitjobs review` prints: tables in a terminal, columns in a pipe, JSON for scripts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import click
import msgspec

from rabbitjobs.cli import review_text as text
from rabbitjobs.review.case import Case

as_json = click.option("--json", "json_", is_flag=True, help="Print JSON, for scripts.")


def wants_json(ctx: click.Context, flag: bool) -> bool:
    """Whether JSON is asked for, here or for the whole command line."""
    return flag or bool(getattr(ctx.obj, "json", False))


def as_plain(case: Case) -> dict[str, Any]:
    """A case with its decoded arguments, its history and what may be done with it."""
    plain = {name: getattr(case, name) for name in case.__struct_fields__}
    plain["history"] = case.history
    plain["actions"] = case.actions
    plain["arguments"] = case.decoded()
    return plain


def print_json(value: Any) -> None:
    """One line of JSON."""
    # ASCII only: what a payload holds must not reach the terminal as a control character.
    encoded = msgspec.json.encode(value, enc_hook=repr).decode("utf-8")
    click.echo("".join(sign if " " <= sign <= "~" else _json_escape(sign) for sign in encoded))


def _json_escape(sign: str) -> str:
    pair = sign.encode("utf-16-be")
    return "".join(f"\\u{pair[i]:02x}{pair[i + 1]:02x}" for i in range(0, len(pair), 2))


def print_lines(lines: Iterable[str]) -> None:
    """Each on a line of its own."""
    for line in lines:
        click.echo(line)


def print_done(ctx: click.Context, case: Case, json_: bool) -> None:
    """What became of a case."""
    if wants_json(ctx, json_):
        print_json(as_plain(case))
        return
    release = f", attempt {case.release_attempt}" if case.state in ("releasing", "released") else ""
    click.echo(f"case {case.id}: {case.state}{release}")
    if case.state == "releasing":
        click.echo("the broker has not confirmed it yet; the relay goes on with it", err=True)


def print_rows(headings: Sequence[str], rows: Sequence[tuple[str, ...]], after: object) -> None:
    """A list; ``after`` is said to be where the next page begins, if there is one."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        print_lines(text.columns([headings, *rows]))
    else:
        console.print(_table(headings, rows))
    if after:
        click.echo(f"more: --after {after}", err=True)


def _table(headings: Sequence[str], rows: Sequence[tuple[str, ...]]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))  # Text, not str: a payload is no markup
    return table
