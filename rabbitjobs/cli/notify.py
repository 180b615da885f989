"""``rabbitjobs notify run``: tells people about failures."""

from __future__ import annotations

import sys
from datetime import timedelta

import click

from rabbitjobs.cli.duration import grace_option
from rabbitjobs.cli.options import CliContext


@click.group()
def notify() -> None:
    """Tell people about failures, and callers about completions."""


@notify.command()
@grace_option
@click.pass_obj
def run(obj: CliContext, grace: timedelta | None) -> None:
    """Send from the notify queue by the channels of the config, until SIGTERM."""
    obj.log()
    from rabbitjobs.app.desk_roles import NotifyRole
    from rabbitjobs.process.worker import start

    app = obj.app()
    sys.exit(start(app, lambda: [NotifyRole(app)], grace=grace))
