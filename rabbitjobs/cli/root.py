"""The command line's root: each command's module is imported when it is called."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import click

from rabbitjobs.cli.options import CliContext

_COMMANDS = {
    "broker": ("broker:broker", "Run a private RabbitMQ node on this machine."),
    "consume": ("consume:consume", "Consume one queue in this process."),
    "dev": ("dev:dev", "Develop: private broker, topology, every role, reload on change."),
    "doctor": ("doctor:doctor", "Check broker, store and config; say what to do."),
    "events": ("events:events", "Watch live what the workers do."),
    "intake": ("intake:intake", "Take review items into the store."),
    "notify": ("notify:notify", "Tell people about failures."),
    "queue": ("queue:queue", "Look into queues: list, peek, purge, put-back."),
    "result": ("result:result", "Show where a job stands and what it returned."),
    "review": ("review:review", "Handle what waits for a person."),
    "run": ("run:run", "Supervise a process for every queue, and the other roles."),
    "send": ("send:send", "Send a job from the shell."),
    "store": ("store:store", "Migrate, check and clean the store."),
    "topology": ("topology:topology", "Plan, apply, compare, explain and draw the topology."),
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(f"rabbitjobs.cli.{module}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--app",
    "app_name",
    metavar="MODULE:NAME",
    help="The app; else RABBITJOBS_APP, the config's `app`, or pyproject.toml.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="The config folder; else RABBITJOBS_CONFIG or ./config.",
)
@click.option(
    "--url",
    metavar="AMQP_URL",
    envvar="RABBITJOBS_CLI_URL",
    help="The broker's URL; else the config's, RABBITJOBS_URL, or a running private node.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
)
@click.option(
    "--log-format",
    type=click.Choice(["auto", "console", "json"]),
    default="auto",
    show_default=True,
)
@click.version_option(package_name="rabbitjobs")
@click.pass_context
def cli(ctx: click.Context, /, **options: Any) -> None:
    """Reliable background jobs on RabbitMQ."""
    ctx.obj = CliContext(**options)
