"""``rabbitjobs intake``: from the review queues into the store."""

from __future__ import annotations

import sys

import click

from rabbitjobs.cli.options import CliContext


@click.command()
@click.pass_obj
def intake(obj: CliContext) -> None:
    """Take review items into the store, relay the outbox, delete what has expired."""
    obj.log()
    from rabbitjobs.app.desk_roles import IntakeRole
    from rabbitjobs.process.worker import start

    app = obj.app()
    sys.exit(start(app, lambda: [IntakeRole(app)]))
