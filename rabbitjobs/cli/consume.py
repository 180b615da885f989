"""``rabbitjobs consume QUEUE``: one process for one queue."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rabbitjobs.cli.duration import grace_option
from rabbitjobs.cli.health import health_options
from rabbitjobs.cli.options import CliContext

if TYPE_CHECKING:
    from rabbitjobs.process.address import Address


@click.command()
@click.argument("queue")
@click.option(
    "--slots", type=click.IntRange(min=1), help="Jobs at a time; else the queue's `concurrency`."
)
@grace_option
@health_options
@click.pass_obj
def consume(
    obj: CliContext,
    queue: str,
    slots: int | None,
    grace: timedelta | None,
    health: Address | None,
    health_file: Path | None,
) -> None:
    """Consume QUEUE in this process until SIGTERM; acks only after completion."""
    obj.log()
    from rabbitjobs.app.roles import ConsumeRole
    from rabbitjobs.process.worker import start

    app = obj.app(needed=True)
    sys.exit(
        start(
            app,
            lambda: [ConsumeRole(app, queue, slots=slots)],
            grace=grace,
            health=health,
            health_file=health_file,
            queue=queue,
        )
    )
