"""The options by which a process says how it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rabbitjobs.process.address import Address

_F = TypeVar("_F", bound=Callable[..., Any])


def _address(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Address | None:
    if value is None:
        return None
    from rabbitjobs.process.address import parse_address

    try:
        return parse_address(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def health_options(command: _F) -> _F:
    """Add ``--health`` and ``--health-file`` to a command."""
    command = click.option(
        "--health-file",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Write `ready` or `not ready` there, every five seconds at least.",
    )(command)
    return click.option(
        "--health",
        metavar="[HOST:]PORT",
        callback=_address,
        help="Serve /ready and /live by HTTP; on 127.0.0.1 if no host is named.",
    )(command)
