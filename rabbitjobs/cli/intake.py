"""``rabbitjobs intake``: from the review queues into the store."""

from __future__ import annotations

import sys
from datetime import timedelta

import click

from rabbitjobs.cli.duration import grace_option
from rabbitjobs.cli.options import CliContext


@click.command()
@grace_option
@click.pass_obj
def intake(obj: CliContext, grace: timedelta | None) -> None:
    """Take review items into the store, relay the outbox, delete what has expired."""
    obj.log()
    from rabbitjobs.app.desk_roles import IntakeRole
    from rabbitjobs.process.worker import start

    app = obj.app()
    sys.exit(start(app, lambda: [IntakeRole(app)], grace=grace))
