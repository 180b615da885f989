"""`rabbitjobs review bulk`: one action for many cases, frozen first, then tried or run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, get_args

import click

from rabbitjobs import clock
from rabbitjobs.cli import review_text as text
from rabbitjobs.cli.duration import DurationType
from rabbitjobs.cli.review_options import chooses_cases, desk_from_context, who_of, who_option
from rabbitjobs.cli.review_print import as_json, print_json, print_rows, wants_json
from rabbitjobs.review.bulk_case import BULK_ACTIONS, Bulk, BulkItems, Fate, Terms
from rabbitjobs.review.case import Filters

_bulk_argument = click.argument("bulk_id")
_limit = click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
_after = click.option("--after", type=int, default=0, help="Go on behind this place.")


@click.group()
def bulk() -> None:
    """Act on many cases at once; 'freeze' says on which."""


@bulk.command()
@click.argument("action", type=click.Choice(BULK_ACTIONS))
@chooses_cases
@click.option("--case", "case_ids", multiple=True, help="This case; the filters are unused then.")
@click.option("--to-queue", default=None, help="Retry on this queue.")
@click.option("--reason", default="", help="Of a discard or rejection.")
@click.option("--for", "wait", type=DurationType(), default=None, help="How long to snooze.")
@click.option("--set", "tags", multiple=True, help="A tag to set.")
@click.option("--canary", type=click.IntRange(0), default=0, help="Send so many first, alone.")
@click.option("--rate", type=float, default=0.0, help="Cases per second at most.")
@click.option("--failures", type=click.IntRange(0), default=None, help="Stop after more failures.")
@who_option
@as_json
@click.pass_context
def freeze(
    ctx: click.Context, /, *, action: Any, filters: Filters, case_ids: tuple[str, ...],
    to_queue: str | None, reason: str, wait: timedelta | None, tags: tuple[str, ...], canary: int,
    rate: float, failures: int | None, who: str | None, json_: bool,
) -> None:  # fmt: skip
    """Fix which cases an action is for. Nothing is done yet: try it dry, then run it."""
    desk = desk_from_context(ctx)
    terms = Terms(
        queue=to_queue,
        reason=reason,
        seconds=wait.total_seconds() if wait else 0.0,
        tags=tags,
        canary=canary,
        rate=rate,
        failures=failures,
    )
    chosen = [desk.get(one).id for one in case_ids] or filters
    _show(ctx, desk.bulk.freeze(action, chosen, who=who_of(desk, who), terms=terms), json_)


@bulk.command("list")
@_limit
@who_option
@as_json
@click.pass_context
def list_bulks(ctx: click.Context, limit: int, who: str | None, json_: bool) -> None:
    """List bulk actions, newest first."""
    desk = desk_from_context(ctx)
    found = desk.bulk.list(limit=limit, who=who_of(desk, who))
    if wants_json(ctx, json_):
        print_json(found)
    else:
        now = clock.now()
        print_rows(text.BULK_HEADINGS, [text.as_bulk(one, now) for one in found], None)


@bulk.command()
@_bulk_argument
@_after
@_limit
@click.option("--fate", type=click.Choice(get_args(Fate)), default=None)
@who_option
@as_json
@click.pass_context
def show(
    ctx: click.Context, bulk_id: str, *, after: int, limit: int, fate: Any, who: str | None,
    json_: bool,
) -> None:  # fmt: skip
    """Show how far a bulk action is, and what became of each case."""
    desk = desk_from_context(ctx)
    who = who_of(desk, who)
    found = desk.bulk.get(bulk_id, who=who)
    items = desk.bulk.outcomes(bulk_id, after=after, limit=limit, fate=fate, who=who)
    if wants_json(ctx, json_):
        print_json({"bulk": found, "items": items})
    else:
        click.echo(text.bulk_line(found))
        _items(items)


@bulk.command("dry-run")
@_bulk_argument
@_after
@_limit
@who_option
@as_json
@click.pass_context
def dry_run(
    ctx: click.Context, bulk_id: str, *, after: int, limit: int, who: str | None, json_: bool
) -> None:
    """Show what would be done with each case if it were run now."""
    desk = desk_from_context(ctx)
    items = desk.bulk.dry_run(bulk_id, after=after, limit=limit, who=who_of(desk, who))
    if wants_json(ctx, json_):
        print_json(items)
    else:
        _items(items)


@bulk.command()
@_bulk_argument
@who_option
@as_json
@click.pass_context
def run(ctx: click.Context, bulk_id: str, who: str | None, json_: bool) -> None:
    """Do it, or go on with it. Exit code 1 if it was stopped or not all went well."""
    desk = desk_from_context(ctx)

    def progress(found: Bulk) -> None:
        click.echo(text.bulk_line(found), err=True)

    done = desk.bulk.run(bulk_id, who=who_of(desk, who), progress=progress)
    if wants_json(ctx, json_):
        print_json(done)
    ctx.exit(1 if done.state == "stopped" or _bad(done.counts) else 0)


@bulk.command()
@_bulk_argument
@click.option("--reason", required=True)
@who_option
@as_json
@click.pass_context
def stop(ctx: click.Context, bulk_id: str, reason: str, who: str | None, json_: bool) -> None:
    """Begin no further case of it; whoever runs it ends."""
    desk = desk_from_context(ctx)
    _show(ctx, desk.bulk.stop(bulk_id, reason, who=who_of(desk, who)), json_)


@bulk.command()
@_bulk_argument
@who_option
@as_json
@click.pass_context
def resume(ctx: click.Context, bulk_id: str, who: str | None, json_: bool) -> None:
    """Let a stopped one go on, its failures so far forgiven; then run it."""
    desk = desk_from_context(ctx)
    _show(ctx, desk.bulk.resume(bulk_id, who=who_of(desk, who)), json_)


def _show(ctx: click.Context, found: Bulk, json_: bool) -> None:
    if wants_json(ctx, json_):
        print_json(found)
    else:
        click.echo(text.bulk_line(found))


def _items(items: BulkItems) -> None:
    rows = [text.as_bulk_item(item) for item in items.items]
    print_rows(text.BULK_ITEM_HEADINGS, rows, items.after)


def _bad(counts: Mapping[str, int]) -> int:
    return counts.get("refused", 0) + counts.get("failed", 0)
