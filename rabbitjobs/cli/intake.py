"""``rabbitjobs intake``: from the review queues into the store."""

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
@grace_option
@health_options
@click.pass_obj
def intake(
    obj: CliContext, grace: timedelta | None, health: Address | None, health_file: Path | None
) -> None:
    """Take review items into the store, relay the outbox, delete what has expired."""
    obj.log()
    from rabbitjobs.app.desk_roles import IntakeRole
    from rabbitjobs.process.worker import start

    app = obj.app()
    sys.exit(
        start(app, lambda: [IntakeRole(app)], grace=grace, health=health, health_file=health_file)
    )
