"""The command line's root: each command's module is imported when it is called."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any, TypeVar

import click

from rabbitjobs.cli.options import URL_VARIABLE, CliContext

_COMMANDS = {
    "broker": ("broker:broker", "Run a private RabbitMQ node on this machine."),
    "consume": ("consume:consume", "Consume one queue in this process."),
    "control": ("control:control", "Cancel jobs; set slots, pause queues, stop workers."),
    "dev": ("dev:dev", "Develop: private broker, topology, every role, reload on change."),
    "doctor": ("doctor:doctor", "Check broker, store and config; say what to do."),
    "events": ("events:events", "Watch live what the workers do."),
    "inspect": ("inspect:inspect", "Ask workers what they are doing."),
    "intake": ("intake:intake", "Take review items into the store."),
    "notify": ("notify:notify", "Tell people about failures."),
    "queue": ("queue:queue", "Look into queues: list, peek, purge, put-back."),
    "result": ("result:result", "Show where a job stands and what it returned."),
    "review": ("review:review", "Handle what waits for a person."),
    "run": ("run:run", "Supervise a process for every queue, and the other roles."),
    "send": ("send:send", "Send a job from the shell."),
    "store": ("store:store", "Migrate, check and clean the store."),
    "topology": ("topology:topology", "Plan, apply, compare, explain and draw the topology."),
    "web": ("web:web", "Serve the review desk to browsers, and over HTTP."),
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(f"rabbitjobs.cli.{module}"), name)
        return _with_root_options(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


_OPTIONS: dict[str, dict[str, Any]] = {
    "app": {
        "metavar": "MODULE:NAME",
        "help": "The app; else RABBITJOBS_APP, the config's `app`, or pyproject.toml.",
    },
    "config": {
        "type": click.Path(path_type=Path),
        "help": "The config folder; else RABBITJOBS_CONFIG or ./config.",
    },
    "url": {
        "metavar": "AMQP_URL",
        "help": "The broker's URL; else the config's, RABBITJOBS_URL, or a running private node.",
    },
    "log-level": {
        "type": click.Choice(["debug", "info", "warning", "error"]),
        "help": "Default: info.",
    },
    "log-format": {
        "type": click.Choice(["auto", "console", "json"]),
        "help": "Default: auto, which is console in a terminal and json elsewhere.",
    },
}
_C = TypeVar("_C", bound=click.Command)


def _keep(ctx: click.Context, option: click.Parameter, value: Any) -> None:
    """What stands behind the command wins over what stands before it."""
    if value is not None:
        setattr(ctx.ensure_object(CliContext), option.name or "", value)


def _with_root_options(command: _C, *, hidden: bool = True) -> _C:
    """The command, and all below it, with the root's options, but for those it has itself."""
    taken = {text for param in command.params for text in param.opts}
    for name, settings in _OPTIONS.items():
        if f"--{name}" not in taken:
            field = "app_name" if name == "app" else name.replace("-", "_")
            command.params.append(
                click.Option(
                    [f"--{name}", field],
                    callback=_keep, expose_value=False, hidden=hidden, **settings,
                )
            )  # fmt: skip
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        _with_root_options(below)
    return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="rabbitjobs")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Reliable background jobs on RabbitMQ. The options may stand behind the command too."""
    found = ctx.ensure_object(CliContext)
    found.url = found.url or os.environ.get(URL_VARIABLE)


_with_root_options(cli, hidden=False)
