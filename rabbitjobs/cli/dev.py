"""``rabbitjobs dev``: the developer's one command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from rabbitjobs.app.finding import find_app, named_app
from rabbitjobs.cli.options import CliContext

if TYPE_CHECKING:
    from rabbitjobs.process.supervisor import Supervisor

SOURCES = (".py", ".yaml", ".yml", ".toml")


@click.command()
@click.option(
    "--reload/--no-reload", default=True, show_default=True, help="Start anew when a file changes."
)
@click.option("--once", is_flag=True, hidden=True)
@click.pass_obj
def dev(obj: CliContext, reload: bool, once: bool) -> None:
    """A private broker if no URL is set, the topology, consumers, intake and notifier; reload."""
    obj.log()
    if once:
        sys.exit(_work(obj))
    if named_app(obj.app_name, obj.settings().app) is None:
        find_app(None)  # says what is missing, before anything is started
    node = None
    if obj.url is None and obj.settings().broker_url is None:
        from rabbitjobs.broker.state import user_node

        obj.settings().broker_files.refuse_private_node()
        node = user_node()
        if node.running:
            node = None  # somebody else's, in another shell
        else:
            click.echo("starting a private RabbitMQ node ...", err=True)
            node.start()
    try:
        code = _keep(obj, reload=reload)
    finally:
        if node is not None:
            click.echo(
                "stopping the private RabbitMQ node (its messages stay on disk) ...", err=True
            )
            node.stop()
    sys.exit(code)


def _keep(obj: CliContext, *, reload: bool) -> int:
    """One process with every role: started anew when a file changes, or when it dies."""
    from rabbitjobs.process.child import Child
    from rabbitjobs.process.supervisor import Supervisor

    child = Child("dev", (*obj.command(), "dev", "--once"))
    grace = obj.settings().grace.total_seconds()
    watching = [_watch] if reload else []
    return Supervisor([child], grace=grace, alongside=watching, table=False).run()


async def _watch(supervisor: Supervisor) -> None:
    from watchfiles import Change, DefaultFilter, awatch

    class Sources(DefaultFilter):
        def __call__(self, change: Change, path: str) -> bool:
            return path.endswith(SOURCES) and super().__call__(change, path)

    async for changes in awatch(os.getcwd(), watch_filter=Sources()):
        click.echo(f"changed: {_names(changes)}; starting anew", err=True)
        supervisor.renew()


def _names(changes: object) -> str:
    paths: Sequence[str] = sorted({os.path.relpath(path) for _, path in changes})  # type: ignore[attr-defined]
    return ", ".join(paths[:3]) + (" ..." if len(paths) > 3 else "")


def _work(obj: CliContext) -> int:
    """Every role in one process."""
    from rabbitjobs.app.desk_roles import IntakeRole, NotifyRole
    from rabbitjobs.app.roles import ConsumeRole, Role
    from rabbitjobs.process.worker import start

    app = obj.app(needed=True)
    app.apply()

    def roles() -> list[Role]:
        consumers: list[Role] = [ConsumeRole(app, queue) for queue in app.spec.queues]
        return [*consumers, IntakeRole(app), NotifyRole(app)]

    return start(app, roles)
