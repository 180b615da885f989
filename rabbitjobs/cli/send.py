"""``rabbitjobs send JOB``: what ``Job.send`` does, from a shell."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import click
import msgspec

from rabbitjobs.cli.duration import DurationType
from rabbitjobs.cli.options import CliContext
from rabbitjobs.errors import ArgumentsRefused, UnknownJob
from rabbitjobs.monitor.logs import escape_json


class MomentType(click.ParamType[datetime]):
    """An ISO 8601 moment with its zone."""

    name = "moment"

    def convert(self, value: Any, param: Any, ctx: Any) -> datetime:
        """Read a moment or fail with what was expected."""
        try:
            moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        except ValueError as error:
            self.fail(f"expected a moment such as 2026-11-21T09:00:00+01:00; {error}", param, ctx)
        if moment.tzinfo is None:
            self.fail("expected a moment with its zone, such as ...T09:00:00+01:00", param, ctx)
        return moment


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("job")
@click.argument("arguments", nargs=-1, metavar="[JSON]...")
@click.option("--kwargs", default="{}", metavar="JSON", help="Keyword arguments, a JSON object.")
@click.option("--queue", help="The queue; needed for a job whose code is not here.")
@click.option("--id", "job_id", help="The job id; sending again with the same id is safe.")
@click.option("--priority")
@click.option("--delay", type=DurationType())
@click.option("--at", type=MomentType())
@click.option("--expires", type=DurationType())
@click.option("--unique", metavar="KEY")
@click.option("--on-done", metavar="URL")
@click.option("--wait", type=DurationType(), help="Wait this long for the result and print it.")
@click.pass_obj
def send(
    obj: CliContext,
    /,
    job: str,
    arguments: tuple[str, ...],
    kwargs: str,
    wait: timedelta | None,
    queue: str | None,
    job_id: str | None,
    **options: Any,
) -> None:
    """Send JOB with JSON arguments, checked as the function's types say; prints the job id."""
    app = obj.app()
    job = _whole_name(job, [one.name for one in app.registry])
    definition = app.registry.get(job)
    if definition is None and queue is None:
        known = ", ".join(sorted(one.name for one in app.registry)) or "none"
        raise UnknownJob(
            f"expected a job of the app ({known}); for a remote one name its --queue", job=job
        )
    remote = app.remote(job, queue=queue or (definition.queue if definition else "default"))
    args = [_json(text) for text in arguments]
    named = _json(kwargs)
    if not isinstance(named, dict):
        raise ArgumentsRefused("expected --kwargs to be a JSON object", job=job)
    handle = remote.options(id=job_id, queue=queue, **options).send(*args, **named)
    click.echo(handle.id)
    if wait is not None:
        value = handle.result(wait.total_seconds())
        click.echo(escape_json(msgspec.json.format(msgspec.json.encode(value)).decode()))


def _whole_name(job: str, known: list[str]) -> str:
    """A job of the app by its function's name alone, if only one is called so."""
    found = [name for name in known if name.endswith(f".{job}")]
    return found[0] if job not in known and len(found) == 1 else job


def _json(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise ArgumentsRefused(
            f"expected JSON, got {text!r}: {error}; a text needs quotes of its own: '\"world\"'"
        ) from None
