"""``rabbitjobs dev``: the developer's one command."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Sequence

import click

from rabbitjobs.cli.options import CliContext

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
    node = None
    if obj.url is None and obj.settings().broker_url is None:
        from rabbitjobs.broker.state import user_node

        node = user_node()
        if node.running:
            node = None  # somebody else's, in another shell
        else:
            click.echo("starting a private RabbitMQ node ...", err=True)
            node.start()
    try:
        _keep(obj, reload=reload)
    finally:
        if node is not None:
            click.echo(
                "stopping the private RabbitMQ node (its messages stay on disk) ...", err=True
            )
            node.stop()


def _keep(obj: CliContext, *, reload: bool) -> None:
    command = (*obj.command(), "dev", "--once")
    if not reload:
        import subprocess

        process = subprocess.Popen(command)
        try:
            process.wait()
        except KeyboardInterrupt:
            process.wait()
        return
    from watchfiles import Change, DefaultFilter, run_process

    class Sources(DefaultFilter):
        def __call__(self, change: Change, path: str) -> bool:
            return path.endswith(SOURCES) and super().__call__(change, path)

    with contextlib.suppress(KeyboardInterrupt):  # how SIGTERM comes out of it, when it is told to
        run_process(
            os.getcwd(),
            target=shlex.join(command),
            target_type="command",
            watch_filter=Sources(),
            callback=lambda changes: click.echo(
                f"changed: {_names(changes)}; starting anew", err=True
            ),
            sigint_timeout=15,
        )


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
