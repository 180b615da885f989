"""Durations on the command line."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click

from rabbitjobs.clock import parse_duration


class DurationType(click.ParamType[timedelta]):
    """``5s``, ``10m``, ``1h30m``; with ``seconds`` a plain number of them too."""

    name = "duration"

    def __init__(self, *, seconds: bool = False) -> None:
        self._seconds = seconds

    def convert(self, value: Any, param: Any, ctx: Any) -> timedelta:
        """Read a duration or fail with what was expected."""
        if isinstance(value, timedelta):
            return value
        plain = self._seconds and value.replace(".", "", 1).isdecimal()
        try:
            return parse_duration(f"{value}s" if plain else value)
        except (ValueError, OverflowError) as error:
            self.fail(str(error), param, ctx)


grace_option = click.option(
    "--grace",
    type=DurationType(seconds=True),
    help="How long running work may take to end at SIGTERM, such as 30s; else the config's.",
)
