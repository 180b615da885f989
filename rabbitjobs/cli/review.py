"""`rabbitjobs review`: parses and prints. Every rule stands in ``rabbitjobs.review.desk``."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterable
from typing import Any

import click
import msgspec

from rabbitjobs import clock
from rabbitjobs.cli import review_text as text
from rabbitjobs.cli.store import existing_store
from rabbitjobs.errors import ArgumentsRefused, RabbitJobsError
from rabbitjobs.review.case import STATES, Case, Filters, Page
from rabbitjobs.review.desk import Desk
from rabbitjobs.review.edited import pretty

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
@click.argument("case_id")
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
@click.option("--queue", default=None, help="Send it to this queue instead of its own.")
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
@click.argument("case_id")
@click.option("--args", "arguments", default=None, help="The new body as JSON: no editor then.")
@click.option("--queue", default=None, help="Send it to this queue instead of its own.")
@who_option
@version_option
@as_json
@click.pass_context
def edit(
    ctx: click.Context, case_id: str, *, arguments: str | None, queue: str | None,
    who: str | None, version: int | None, json_: bool,
) -> None:  # fmt: skip
    """Change the arguments of a job in $EDITOR, and send it again.

    The arguments are {"args": [...], "kwargs": {...}}, checked against the job's signature.
    """
    desk = desk_from_context(ctx)
    case = desk.get(case_id)
    given = arguments.encode("utf-8", "surrogateescape") if arguments is not None else None
    body = given if given is not None else _edited(desk, case)
    if body is None:
        raise click.ClickException("nothing was changed, nothing was sent")
    seen = case.version if version is None else version
    _print_done(ctx, desk.edit(case.id, body, who=_who(who), version=seen, queue=queue), json_)


@review.command()
@click.argument("case_id")
@click.option("--reason", required=True)
@who_option
@version_option
@as_json
@click.pass_context
def discard(
    ctx: click.Context, case_id: str, *, reason: str, who: str | None, version: int | None,
    json_: bool,
) -> None:  # fmt: skip
    """End a case without sending its job again: the job has failed."""
    desk = desk_from_context(ctx)
    seen = _seen(desk, case_id, version)
    _print_done(ctx, desk.discard(case_id, reason, who=_who(who), version=seen), json_)


@review.command()
@click.argument("case_id")
@click.option("--result", required=True, help="The job's result, as JSON.")
@click.option("--reason", default="")
@who_option
@version_option
@as_json
@click.pass_context
def resolve(
    ctx: click.Context, case_id: str, *, result: str, reason: str, who: str | None,
    version: int | None, json_: bool,
) -> None:  # fmt: skip
    """End a case with a result given by hand; a caller who waits gets it."""
    desk = desk_from_context(ctx)
    try:
        value = msgspec.json.decode(result)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise click.BadParameter(
            f"expected JSON, such as '\"text\"' or 42; {error}", param_hint="--result"
        ) from None
    seen = _seen(desk, case_id, version)
    _print_done(
        ctx, desk.resolve(case_id, value, who=_who(who), version=seen, reason=reason), json_
    )


@review.command()
@click.argument("case_id")
@click.option("--reason", required=True)
@who_option
@version_option
@as_json
@click.pass_context
def reopen(
    ctx: click.Context, case_id: str, *, reason: str, who: str | None, version: int | None,
    json_: bool,
) -> None:  # fmt: skip
    """Take back a release that no broker takes, or whose job is lost (its queue deleted, say)."""
    desk = desk_from_context(ctx)
    seen = _seen(desk, case_id, version)
    _print_done(ctx, desk.reopen(case_id, reason, who=_who(who), version=seen), json_)


def _edited(desk: Desk, case: Case) -> bytes | None:
    """Open the editor until the arguments fit, or until nothing is changed any more."""
    before = pretty(case.payload)
    shown, problem = before, ""
    while True:
        edited = click.edit(_with_problem(shown, problem), extension=".json")
        plain = None if edited is None else _without_problem(edited)
        if plain is None or plain.strip() in (before.strip(), "", shown.strip() if problem else ""):
            return None
        body = plain.encode("utf-8")
        try:
            desk.check(case.id, msgspec.json.format(body, indent=-1))
        except (ArgumentsRefused, msgspec.DecodeError) as error:
            shown, problem = plain, str(error)
            continue
        return msgspec.json.format(body, indent=-1)


def _with_problem(body: str, problem: str) -> str:
    if not problem:
        return body
    notes = [*text.visible_lines(problem), "Save it unchanged to give up."]
    return "".join(f"# {line}\n" for line in notes) + body


def _without_problem(edited: str) -> str:
    lines = edited.splitlines()
    while lines and lines[0].startswith("#"):
        lines.pop(0)
    return "\n".join(lines)


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
