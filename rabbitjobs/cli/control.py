"""``rabbitjobs control``: have workers do something, and cancel jobs."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Any

import click

from rabbitjobs.cli.asking import TIMEOUT, ask, asking, client_of, exit_code, line, show
from rabbitjobs.cli.duration import DurationType
from rabbitjobs.cli.options import CliContext
from rabbitjobs.control import protocol
from rabbitjobs.control.protocol import AnyCommand


@click.group()
def control() -> None:
    """Have workers do something. Exit 0: all did; 1: one refused; 3: one did not answer."""


@control.command()
@click.argument("job_ids", nargs=-1, metavar="[ID]...")
@click.option("--tag", help="All jobs that were sent with this tag until now, in place of ids.")
@click.option("--why", default="", help="The reason, for the record of each job.")
@click.option("--who", help="Who asks, for the record; default: you on this machine.")
@click.option(
    "--grace",
    type=DurationType(seconds=True),
    help="What a running job has before it is ended by force; default: 10s.",
)
@click.option(
    "--timeout",
    type=DurationType(seconds=True),
    default=TIMEOUT,
    help="How long to wait for answers; default: 3s.",
)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@click.pass_obj
def cancel(
    obj: CliContext,
    job_ids: tuple[str, ...],
    tag: str | None,
    why: str,
    who: str | None,
    grace: timedelta | None,
    timeout: timedelta,
    as_json: bool,
) -> None:
    """Cancel the jobs ID, or all of --tag: queued, delayed or running ones.

    It is stored before workers are told, and holds whether they answer or not: one that does not
    reads it within seconds.
    """
    app = obj.app()
    with client_of(obj) as client:
        app.cancel(*job_ids, tag=tag, who=who, why=why, grace=grace)
        if not as_json:
            click.echo("cancelled: it is stored, and holds for every worker")
        asked = client.ask(protocol.Cancel(), timeout=timeout.total_seconds())
    show(asked, lambda _value: line("knows"), as_json=as_json)
    sys.exit(0 if exit_code(asked) != 1 else 1)


@control.command()
@click.argument("queue", metavar="QUEUE")
@click.argument("count", metavar="COUNT", type=click.IntRange(1, 10_000))
@asking
@click.pass_obj
def slots(
    obj: CliContext,
    queue: str,
    count: int,
    workers: tuple[str, ...],
    timeout: timedelta,
    as_json: bool,
) -> None:
    """Run COUNT jobs of QUEUE at a time in each worker of it, until that worker ends."""
    _ask(obj, protocol.SetSlots(queue, count), workers, timeout, as_json)


@control.command()
@click.argument("queue", metavar="QUEUE")
@click.argument("rate", metavar="RATE")
@click.option("--job", help="Of this job only.")
@asking
@click.pass_obj
def rate(
    obj: CliContext,
    queue: str,
    rate: str,
    job: str | None,
    workers: tuple[str, ...],
    timeout: timedelta,
    as_json: bool,
) -> None:
    """Start at most RATE (10/s, say) jobs of QUEUE."""
    _ask(obj, protocol.SetRate(queue, rate, job), workers, timeout, as_json)


@control.command()
@click.argument("queue", metavar="QUEUE")
@asking
@click.pass_obj
def pause(
    obj: CliContext, queue: str, workers: tuple[str, ...], timeout: timedelta, as_json: bool
) -> None:
    """Take no jobs from QUEUE, until `resume` or the worker's end; what runs is finished."""
    _ask(obj, protocol.Pause(queue), workers, timeout, as_json)


@control.command()
@click.argument("queue", metavar="QUEUE")
@asking
@click.pass_obj
def resume(
    obj: CliContext, queue: str, workers: tuple[str, ...], timeout: timedelta, as_json: bool
) -> None:
    """Take jobs from QUEUE again."""
    _ask(obj, protocol.Resume(queue), workers, timeout, as_json)


@control.command()
@click.option("--all", "everybody", is_flag=True, help="Every worker of the namespace.")
@asking
@click.pass_obj
def shutdown(
    obj: CliContext,
    everybody: bool,
    workers: tuple[str, ...],
    timeout: timedelta,
    as_json: bool,
) -> None:
    """Stop workers in order, as SIGTERM does. `rabbitjobs run` starts others in their place."""
    if everybody == bool(workers):
        raise click.UsageError("expected --worker HOST:PID or --all, got both or neither")
    _ask(obj, protocol.Shutdown(), workers, timeout, as_json)


def _ask(
    obj: CliContext,
    command: AnyCommand,
    workers: tuple[str, ...],
    timeout: timedelta,
    as_json: bool,
) -> None:
    ask(obj, command, _show, workers=workers, timeout=timeout, as_json=as_json)


def _show(value: Any) -> None:
    """What a worker did: something for each of its consumers of that queue, or nothing."""
    if value is None:
        line("done")
    elif not value:
        line("does not consume that queue")
    for one in value or ():
        line(", ".join(f"{name} {said}" for name, said in one.items()))
