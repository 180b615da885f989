"""`rabbitjobs review`: the actions on one case."""

from __future__ import annotations

from datetime import timedelta

import click
import msgspec

from rabbitjobs.cli import review_text as text
from rabbitjobs.cli.duration import DurationType
from rabbitjobs.cli.review_editor import edited
from rabbitjobs.cli.review_options import (
    Acting,
    acts_on_a_case,
    desk_from_context,
    queue_option,
    reason_option,
    seen,
    version_option,
    who_of,
    who_option,
)
from rabbitjobs.cli.review_print import as_json, print_done, print_lines
from rabbitjobs.errors import RabbitJobsError
from rabbitjobs.review.desk import Desk


@click.command()
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
    who, refused = who_of(desk, who), False
    for case_id in case_ids:
        try:
            fence = seen(desk, case_id, version)
            case = desk.retry(case_id, who=who, version=fence, queue=queue)
        except RabbitJobsError as error:
            if len(case_ids) == 1:
                raise
            refused = True
            click.echo(f"{text.visible(case_id)}: {text.visible(str(error))}", err=True)
        else:
            print_done(ctx, case, json_)
    ctx.exit(1 if refused else 0)


@click.command()
@click.option("--args", "arguments", default=None, help="The new body as JSON: no editor then.")
@click.option("--dry-run", is_flag=True, help="Check it and show the change; send nothing.")
@queue_option
@acts_on_a_case
def edit(acting: Acting, arguments: str | None, dry_run: bool, queue: str | None) -> None:
    """Change the arguments of a job in $EDITOR, and send it again.

    The arguments are {"args": [...], "kwargs": {...}}, checked against the job's signature. What
    is hidden from you is left as it is.
    """
    desk = desk_from_context(acting.ctx)
    who = who_of(desk, acting.who)
    case = desk.get(acting.case_id, who=who)
    given = arguments.encode("utf-8", "surrogateescape") if arguments is not None else None
    body = given if given is not None else edited(desk, case, who)
    if body is None:
        raise click.ClickException("nothing was changed, nothing was sent")
    if dry_run:
        print_lines(text.visible_lines(desk.preview(case.id, body, who=who)))
        return
    # The version that the editor showed: whoever was quicker meanwhile is not overwritten.
    fence = case.version if acting.version is None else acting.version
    acting._replace(case_id=case.id, version=fence).run(Desk.edit, body, queue=queue)


@click.command()
@queue_option
@acts_on_a_case
def approve(acting: Acting, queue: str | None) -> None:
    """Let a job run that waits for a yes."""
    acting.run(Desk.approve, queue=queue)


@click.command()
@reason_option
@acts_on_a_case
def reject(acting: Acting, reason: str) -> None:
    """Say no to a job that waits for a yes: it never runs, and has failed."""
    acting.run(Desk.reject, reason)


@click.command()
@reason_option
@acts_on_a_case
def discard(acting: Acting, reason: str) -> None:
    """End a case without sending its job again: the job has failed."""
    acting.run(Desk.discard, reason)


@click.command()
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


@click.command()
@reason_option
@acts_on_a_case
def reopen(acting: Acting, reason: str) -> None:
    """Take back a release that no broker takes, or whose job is lost (its queue deleted, say)."""
    acting.run(Desk.reopen, reason)


@click.command()
@acts_on_a_case
def claim(acting: Acting) -> None:
    """Hold a case: nobody else may act on it until your lease ends."""
    acting.run(Desk.claim)


@click.command()
@click.argument("case_id")
@who_option
@as_json
@click.pass_context
def heartbeat(ctx: click.Context, case_id: str, who: str | None, json_: bool) -> None:
    """Prolong your claim on a case."""
    desk = desk_from_context(ctx)
    print_done(ctx, desk.heartbeat(case_id, who=who_of(desk, who)), json_)


@click.command()
@reason_option
@acts_on_a_case
def steal(acting: Acting, reason: str) -> None:
    """Take a case from who holds it."""
    acting.run(Desk.steal, reason)


@click.command("let-go")
@acts_on_a_case
def let_go(acting: Acting) -> None:
    """Give your claim on a case back."""
    acting.run(Desk.let_go)


@click.command()
@acts_on_a_case
@click.argument("duration", type=DurationType())
@click.option("--reason", default="")
def snooze(acting: Acting, duration: timedelta, reason: str) -> None:
    """Put a case off for a while, such as 2h."""
    acting.run(Desk.snooze, duration, reason=reason)


@click.command()
@acts_on_a_case
def wake(acting: Acting) -> None:
    """End a snooze now."""
    acting.run(Desk.wake)


@click.command()
@reason_option
@acts_on_a_case
def escalate(acting: Acting, reason: str) -> None:
    """Raise the severity of a case."""
    acting.run(Desk.escalate, reason)


@click.command()
@acts_on_a_case
@click.argument("words")
def comment(acting: Acting, words: str) -> None:
    """Write a comment, which stays with the case for good."""
    acting.run(Desk.comment, words)


@click.command()
@click.option("--set", "tags", multiple=True, help="A tag; without any, all are taken away.")
@acts_on_a_case
def tag(acting: Acting, tags: tuple[str, ...]) -> None:
    """Set the tags of a case, replacing those it has."""
    acting.run(Desk.tag, tags)


COMMANDS = (
    retry, edit, approve, reject, discard, resolve, reopen, claim, heartbeat, steal, let_go,
    snooze, wake, escalate, comment, tag,
)  # fmt: skip
