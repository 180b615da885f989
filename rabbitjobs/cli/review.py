"""`rabbitjobs review`: parses and prints. Every rule stands in ``rabbitjobs.review``."""

from __future__ import annotations

from typing import Any

import click

from rabbitjobs import clock
from rabbitjobs.cli import review_text as text
from rabbitjobs.cli.review_acting import COMMANDS
from rabbitjobs.cli.review_bulk import bulk
from rabbitjobs.cli.review_options import chooses_cases, desk_from_context, who_of, who_option
from rabbitjobs.cli.review_print import (
    as_json,
    as_plain,
    print_json,
    print_lines,
    print_rows,
    wants_json,
)
from rabbitjobs.review.case import SORTS, Filters
from rabbitjobs.review.export import FORMS

case_argument = click.argument("case_id")
limit_option = click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True
)


@click.group()
def review() -> None:
    """Handle the jobs that wait for a person."""


@review.command("list")
@chooses_cases
@click.option("--sort", type=click.Choice(SORTS), default="newest", show_default=True)
@limit_option
@click.option("--after", default=None, help="Go on where a page ended.")
@who_option
@as_json
@click.pass_context
def list_cases(
    ctx: click.Context, /, *, filters: Filters, sort: Any, limit: int, after: str | None,
    who: str | None, json_: bool,
) -> None:  # fmt: skip
    """List cases, newest first."""
    desk = desk_from_context(ctx)
    page = desk.list(filters, limit=limit, after=after, sort=sort, who=who_of(desk, who))
    if wants_json(ctx, json_):
        print_json(page)
    else:
        now = clock.now()
        print_rows(text.HEADINGS, [text.as_row(case, now) for case in page.cases], page.after)


@review.command()
@chooses_cases
@limit_option
@click.option("--after", default=None, help="Go on where a page ended.")
@who_option
@as_json
@click.pass_context
def groups(
    ctx: click.Context, /, *, filters: Filters, limit: int, after: str | None, who: str | None,
    json_: bool,
) -> None:  # fmt: skip
    """Count cases by what they have in common: job, error, and the way through the code."""
    desk = desk_from_context(ctx)
    page = desk.groups(filters, limit=limit, after=after, who=who_of(desk, who))
    if wants_json(ctx, json_):
        print_json(page)
    else:
        now = clock.now()
        rows = [text.as_group(group, now) for group in page.groups]
        print_rows(text.GROUP_HEADINGS, rows, page.after)


@review.command()
@case_argument
@who_option
@as_json
@click.pass_context
def show(ctx: click.Context, case_id: str, who: str | None, json_: bool) -> None:
    """Show everything that is known of a case."""
    desk = desk_from_context(ctx)
    who = who_of(desk, who)
    case = desk.get(case_id, who=who)
    offers = desk.offers(case, who=who)
    audit, comments = desk.audit(case.id, who=who), desk.comments(case.id, who=who)
    if wants_json(ctx, json_):
        told = {"audit": audit, "comments": comments, "offers": offers}
        print_json({"case": as_plain(case), **told})
    else:
        print_lines(text.describe(case, audit, comments))


@review.command()
@who_option
@as_json
@click.pass_context
def stats(ctx: click.Context, who: str | None, json_: bool) -> None:
    """Count cases by state, queue, error and age."""
    desk = desk_from_context(ctx)
    counts = desk.stats(who=who_of(desk, who))
    if wants_json(ctx, json_):
        print_json(counts)
    else:
        print_lines(text.statistics(counts))


@review.command()
@case_argument
@who_option
@as_json
@click.pass_context
def verify(ctx: click.Context, case_id: str, who: str | None, json_: bool) -> None:
    """Say whether the audit of a case is as it was written. Exit code 1 if it is not."""
    desk = desk_from_context(ctx)
    fault = desk.verify(case_id, who=who_of(desk, who))
    if wants_json(ctx, json_):
        print_json({"whole": fault is None, "fault": fault})
    else:
        click.echo(text.visible(fault) if fault else "the audit is as it was written")
    ctx.exit(1 if fault else 0)


@review.command()
@chooses_cases
@click.option("--form", type=click.Choice(FORMS), default="jsonl", show_default=True)
@who_option
@click.pass_context
def export(ctx: click.Context, /, *, filters: Filters, form: Any, who: str | None) -> None:
    """Print all cases that fit, oldest first: JSON lines with their audit, or CSV."""
    desk = desk_from_context(ctx)
    for line in desk.export(filters, form=form, who=who_of(desk, who)):
        # JSON escapes by itself; a terminal must not run what stands in a cell.
        click.echo(line if form == "jsonl" else "\n".join(text.visible_lines(line)))


@review.command()
@as_json
@click.pass_context
def people(ctx: click.Context, json_: bool) -> None:
    """Show who may do what, as the config says."""
    options = desk_from_context(ctx).options
    if wants_json(ctx, json_):
        print_json({"people": list(options.people.values()), "others": options.others})
    elif not options.people:
        click.echo("nobody is named in review.people: everybody is an admin")
    else:
        print_rows(text.PEOPLE_HEADINGS, list(text.people_rows(options)), None)


for command in COMMANDS:
    review.add_command(command)
review.add_command(bulk)
