"""`rabbitjobs review`: parses and prints. Every rule stands in ``rabbitjobs.review.desk``."""

from __future__ import annotations

import functools
import getpass
import os
import socket
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import click
import msgspec

from rabbitjobs import clock
from rabbitjobs.cli import review_text as text
from rabbitjobs.cli.review_editor import edited
from rabbitjobs.cli.store import existing_store
from rabbitjobs.errors import RabbitJobsError
from rabbitjobs.review.case import STATES, Case, Filters, Page
from rabbitjobs.review.desk import Desk

as_json = click.option("--json", "json_", is_flag=True, help="Print JSON, for scripts.")
who_option = click.option(
    "--who", default=None, help="Who acts, for the audit; default: you on this machine."
)
version_option = click.option(
    "--version",
    type=int,
    default=None,
    help="Refuse if the case is no longer at this version; default: the one it has now.",
)


queue_option = click.option(
    "--queue", default=None, help="Send it to this queue instead of its own."
)
case_argument = click.argument("case_id")
reason_option = click.option("--reason", required=True)


class Acting(NamedTuple):
    """Who acts on which case, as the command line says; the desk has the rules."""

    ctx: click.Context
    case_id: str
    who: str | None
    version: int | None
    as_json: bool

    def run(self, act: Callable[..., Case], *given: Any, **named: Any) -> None:
        """Do it on the case as it was seen, and print what became of it."""
        desk = desk_from_context(self.ctx)
        version = _seen(desk, self.case_id, self.version)
        done = act(desk, self.case_id, *given, who=_who(self.who), version=version, **named)
        _print_done(self.ctx, done, self.as_json)


def acts_on_a_case(command: Callable[..., None]) -> Callable[..., None]:
    """The options of every action on one case; ``command`` gets them as one ``Acting``."""

    @case_argument
    @who_option
    @version_option
    @as_json
    @click.pass_context
    @functools.wraps(command)
    def with_acting(
        ctx: click.Context, /, *, case_id: str, who: str | None, version: int | None,
        json_: bool, **own: Any,
    ) -> None:  # fmt: skip
        command(Acting(ctx, case_id, who, version, json_), **own)

    return with_acting


def desk_from_context(ctx: click.Context) -> Desk:
    """The desk of the app that the command line names; raises ``StoreMissing``: it makes none."""
    existing_store(ctx)
    desk: Desk = ctx.obj.app().desk
    return desk


@click.group()
def review() -> None:
    """Handle the jobs that wait for a person."""


@review.command("list")
@click.option("--state", type=click.Choice([*STATES, "all"]), default="open", show_default=True)
@click.option("--queue", default=None)
@click.option("--job", default=None)
@click.option("--error-type", default=None, help="The error's full name.")
@click.option("--text", "wanted", default=None, help="Look for this in errors and payloads.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.option("--after", default=None, help="Go on below this case id.")
@as_json
@click.pass_context
def list_cases(
    ctx: click.Context, /, *, state: Any, queue: str | None, job: str | None,
    error_type: str | None, wanted: str | None, limit: int, after: str | None, json_: bool,
) -> None:  # fmt: skip
    """List cases, newest first."""
    filters = Filters(
        state=None if state == "all" else state,
        queue=queue, job=job, error_type=error_type, text=wanted,
    )  # fmt: skip
    page = desk_from_context(ctx).list(filters, limit=limit, after=after)
    if _wants_json(ctx, json_):
        _print_json(page)
    else:
        _print_page(page)


@review.command()
@case_argument
@as_json
@click.pass_context
def show(ctx: click.Context, case_id: str, json_: bool) -> None:
    """Show everything that is known of a case."""
    desk = desk_from_context(ctx)
    case = desk.get(case_id)
    audit = desk.audit(case.id)
    if _wants_json(ctx, json_):
        _print_json({"case": _as_plain(case), "audit": audit})
    else:
        _print_lines(text.describe(case, audit))


@review.command()
@as_json
@click.pass_context
def stats(ctx: click.Context, json_: bool) -> None:
    """Count cases by state, queue, error and age."""
    counts = desk_from_context(ctx).stats()
    if _wants_json(ctx, json_):
        _print_json(counts)
    else:
        _print_lines(text.statistics(counts))


@review.command()
@click.argument("case_ids", nargs=-1, required=True)
@queue_option
@who_option
@version_option
@as_json
@click.pass_context
def retry(
    ctx: click.Context, case_ids: tuple[str, ...], *, queue: str | None, who: str | None,
    version: int | None, json_: bool,
) -> None:  # fmt: skip
    """Send jobs again as they are. An outcome for each; exit code 1 if one was refused."""
    desk = desk_from_context(ctx)
    refused = False
    for case_id in case_ids:
        try:
            seen = _seen(desk, case_id, version)
            case = desk.retry(case_id, who=_who(who), version=seen, queue=queue)
        except RabbitJobsError as error:
            if len(case_ids) == 1:
                raise
            refused = True
            click.echo(f"{text.visible(case_id)}: {text.visible(str(error))}", err=True)
        else:
            _print_done(ctx, case, json_)
    ctx.exit(1 if refused else 0)


@review.command()
@click.option("--args", "arguments", default=None, help="The new body as JSON: no editor then.")
@queue_option
@acts_on_a_case
def edit(acting: Acting, arguments: str | None, queue: str | None) -> None:
    """Change the arguments of a job in $EDITOR, and send it again.

    The arguments are {"args": [...], "kwargs": {...}}, checked against the job's signature.
    """
    desk = desk_from_context(acting.ctx)
    case = desk.get(acting.case_id)
    given = arguments.encode("utf-8", "surrogateescape") if arguments is not None else None
    body = given if given is not None else edited(desk, case)
    if body is None:
        raise click.ClickException("nothing was changed, nothing was sent")
    # The version that the editor showed: whoever was quicker meanwhile is not overwritten.
    seen = case.version if acting.version is None else acting.version
    acting._replace(case_id=case.id, version=seen).run(Desk.edit, body, queue=queue)


@review.command()
@reason_option
@acts_on_a_case
def discard(acting: Acting, reason: str) -> None:
    """End a case without sending its job again: the job has failed."""
    acting.run(Desk.discard, reason)


@review.command()
@click.option("--result", required=True, help="The job's result, as JSON.")
@click.option("--reason", default="")
@acts_on_a_case
def resolve(acting: Acting, result: str, reason: str) -> None:
    """End a case with a result given by hand; a caller who waits gets it."""
    try:
        value = msgspec.json.decode(result)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise click.BadParameter(
            f"expected JSON, such as '\"text\"' or 42; {error}", param_hint="--result"
        ) from None
    acting.run(Desk.resolve, value, reason=reason)


@review.command()
@reason_option
@acts_on_a_case
def reopen(acting: Acting, reason: str) -> None:
    """Take back a release that no broker takes, or whose job is lost (its queue deleted, say)."""
    acting.run(Desk.reopen, reason)


def _seen(desk: Desk, case_id: str, version: int | None) -> int:
    return desk.get(case_id).version if version is None else version


def _who(named: str | None) -> str:
    if named:
        return named
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _wants_json(ctx: click.Context, flag: bool) -> bool:
    return flag or bool(getattr(ctx.obj, "json", False))


def _as_plain(case: Case) -> dict[str, Any]:
    plain = {name: getattr(case, name) for name in case.__struct_fields__}
    plain["history"] = case.history
    plain["actions"] = case.actions
    plain["arguments"] = case.decoded()
    return plain


def _print_json(value: Any) -> None:
    # ASCII only: what a payload holds must not reach the terminal as a control character.
    encoded = msgspec.json.encode(value, enc_hook=repr).decode("utf-8")
    click.echo("".join(sign if " " <= sign <= "~" else _json_escape(sign) for sign in encoded))


def _json_escape(sign: str) -> str:
    pair = sign.encode("utf-16-be")
    return "".join(f"\\u{pair[i]:02x}{pair[i + 1]:02x}" for i in range(0, len(pair), 2))


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)


def _print_done(ctx: click.Context, case: Case, json_: bool) -> None:
    if _wants_json(ctx, json_):
        _print_json(_as_plain(case))
        return
    release = f", attempt {case.release_attempt}" if case.state in ("releasing", "released") else ""
    click.echo(f"case {case.id}: {case.state}{release}")
    if case.state == "releasing":
        click.echo("the broker has not confirmed it yet; the relay goes on with it", err=True)


def _print_page(page: Page) -> None:
    from rich.console import Console

    rows = [text.as_row(case, clock.now()) for case in page.cases]
    console = Console()
    if not console.is_terminal:
        _print_lines(text.columns([text.HEADINGS, *rows]))
    else:
        console.print(_table(rows))
    if page.after:
        click.echo(f"more: --after {page.after}", err=True)


def _table(rows: list[tuple[str, ...]]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for heading in text.HEADINGS:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))  # Text, not str: a payload is no markup
    return table
