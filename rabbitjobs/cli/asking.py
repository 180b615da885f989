"""Asking workers from a shell: what `inspect` and `control` share."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import click

from rabbitjobs.broker.url import parse_urls
from rabbitjobs.cli.duration import DurationType
from rabbitjobs.cli.options import CliContext
from rabbitjobs.control.cancelling import whoami
from rabbitjobs.control.client import Asked, ControlClient
from rabbitjobs.control.presence import present
from rabbitjobs.control.protocol import AnyCommand
from rabbitjobs.monitor.logs import escape, escape_json

Shown = Callable[[Any], None]
F = TypeVar("F", bound=Callable[..., Any])
TIMEOUT = timedelta(seconds=3)
SILENT = 3
"""The exit code where a worker did not answer; 1 where one refused."""


def asking(command: F) -> F:
    """The options of every command that asks workers."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="For scripts."),
        click.option(
            "--timeout",
            type=DurationType(seconds=True),
            default=TIMEOUT,
            help="How long to wait for answers; default: 3s.",
        ),
        click.option(
            "--worker",
            "workers",
            multiple=True,
            metavar="HOST:PID",
            help="Ask this one only; may be repeated. Default: all.",
        ),
    ):
        command = option(command)
    return command


@contextlib.contextmanager
def client_of(obj: CliContext) -> Iterator[ControlClient]:
    """The client of the namespace that the options name; its connections end with it."""
    app = obj.app()
    vhost = parse_urls(app.url)[0].vhost
    client = ControlClient(
        app.parts.session(),
        app.namespace,
        who=whoami(),
        present=lambda: present(app.parts.management, app.namespace, vhost),
    )
    try:
        yield client
    finally:
        client.close()
        app.close()


def ask(
    obj: CliContext,
    command: AnyCommand,
    shown: Shown,
    *,
    workers: Sequence[str],
    timeout: timedelta,
    as_json: bool,
) -> None:
    """Ask, print what came, and leave with the exit code that says whether all is well."""
    with client_of(obj) as client:
        asked = client.ask(command, timeout=timeout.total_seconds(), to=workers)
    show(asked, shown, as_json=as_json)
    sys.exit(exit_code(asked))


def exit_code(asked: Asked) -> int:
    """0: all that are known have done it; 1: one refused; 3: one did not answer, or none is."""
    if any(answer.error is not None for answer in asked.answers):
        return 1
    return SILENT if asked.silent or not asked.answers else 0


def show(asked: Asked, shown: Shown, *, as_json: bool) -> None:
    """Print each worker's answer, and those who gave none."""
    if as_json:
        click.echo(escape_json(json.dumps(plain(asked), ensure_ascii=False, indent=2)))
        return
    for answer in asked.answers:
        click.echo(f"{escape(answer.worker)}:")
        if answer.error is not None:
            click.echo(f"  refused: {escape(answer.error)}")
        else:
            shown(answer.value)
    if asked.silent is None:
        click.echo(
            "who did not answer is unknown: the management API, which lists the workers, cannot be "
            "asked",
            err=True,
        )
    elif asked.silent:
        click.echo(f"no answer: {escape(', '.join(asked.silent))}", err=True)
    elif not asked.answers:
        click.echo("no worker is there", err=True)


def plain(asked: Asked) -> dict[str, Any]:
    """What was answered, for scripts; ``no_answer`` is null where it cannot be known."""
    return {
        "answers": {
            answer.worker: {"error": answer.error} if answer.error is not None else answer.value
            for answer in asked.answers
        },
        "no_answer": list(asked.silent) if asked.silent is not None else None,
    }


def line(text: str) -> None:
    """One line of an answer; what came from elsewhere is escaped."""
    click.echo(f"  {escape(text)}")
