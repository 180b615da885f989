"""``rabbitjobs notify run``: tells people about failures."""

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


@click.group()
def notify() -> None:
    """Tell people about failures, and callers about completions."""


@notify.command()
@grace_option
@health_options
@click.pass_obj
def run(
    obj: CliContext, grace: timedelta | None, health: Address | None, health_file: Path | None
) -> None:
    """Send from the notify queue by the channels of the config, until SIGTERM."""
    obj.log()
    from rabbitjobs.app.desk_roles import NotifyRole
    from rabbitjobs.process.worker import start

    app = obj.app()
    sys.exit(
        start(app, lambda: [NotifyRole(app)], grace=grace, health=health, health_file=health_file)
    )
