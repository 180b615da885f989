"""The options that the commands of the desk share, and the desk that they act on."""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

import click

from rabbitjobs import clock
from rabbitjobs.cli.duration import DurationType
from rabbitjobs.cli.review_print import as_json, print_done
from rabbitjobs.cli.store import existing_store
from rabbitjobs.review.case import STATES, Case, Filters
from rabbitjobs.review.desk import Desk
from rabbitjobs.review.here import local_name

who_option = click.option(
    "--who",
    default=None,
    help="Who acts, by the config's review.people, and for the audit; default: you on this "
    "machine. A name here is a claim, not a proof.",
)
version_option = click.option(
    "--version",
    type=int,
    default=None,
    help="Refuse if the case is no longer at this version; default: the one it has now.",
)
queue_option = click.option(
    "--queue", default=None, help="Send it to this queue instead of its own."
)
reason_option = click.option("--reason", required=True)
_AGE = DurationType()


class Acting(NamedTuple):
    """Who acts on which case, as the command line says; the desk has the rules."""

    ctx: click.Context
    case_id: str
    who: str | None
    version: int | None
    as_json: bool

    def run(self, act: Callable[..., Case], *given: Any, **named: Any) -> None:
        """Do it on the case as it was seen, and print what became of it."""
        desk = desk_from_context(self.ctx)
        who = who_of(desk, self.who)
        version = seen(desk, self.case_id, self.version)
        done = act(desk, self.case_id, *given, who=who, version=version, **named)
        print_done(self.ctx, done, self.as_json)


def acts_on_a_case(command: Callable[..., None]) -> Callable[..., None]:
    """The options of every action on one case; ``command`` gets them as one ``Acting``."""

    @click.argument("case_id")
    @who_option
    @version_option
    @as_json
    @click.pass_context
    @functools.wraps(command)
    def with_acting(
        ctx: click.Context,
        /,
        *,
        case_id: str,
        who: str | None,
        version: int | None,
        json_: bool,
        **own: Any,
    ) -> None:
        command(Acting(ctx, case_id, who, version, json_), **own)

    return with_acting


def chooses_cases(command: Callable[..., None]) -> Callable[..., None]:
    """The filters of every list; ``command`` gets them as ``filters``."""

    @click.option("--state", type=click.Choice([*STATES, "all"]), default="open", show_default=True)
    @click.option("--queue", "of_queue", default=None, help="Cases of this queue.")
    @click.option("--job", default=None)
    @click.option("--error-type", default=None, help="The error's full name.")
    @click.option("--text", default=None, help="Look for this in ids, errors and payloads.")
    @click.option("--group", "fingerprint", default=None, help="Of one cause: see 'groups'.")
    @click.option("--owner", default=None, help="Who acted last.")
    @click.option("--claimed/--free", default=None, help="Held by somebody now, or by nobody.")
    @click.option("--snoozed/--awake", default=None, help="Put off now, or not.")
    @click.option("--origin", "came_by", type=click.Choice(["review", "dead-letter", "quarantine"]))
    @click.option("--tag", default=None)
    @click.option("--job-id", default=None)
    @click.option("--newer", type=_AGE, default=None, help="Opened within, such as 2h.")
    @click.option("--older", type=_AGE, default=None, help="Opened longer ago, such as 1d.")
    @functools.wraps(command)
    def with_filters(
        *args: Any,
        state: Any,
        of_queue: str | None,
        came_by: Any,
        newer: timedelta | None,
        older: timedelta | None,
        **own: Any,
    ) -> None:
        names = ("job", "error_type", "text", "fingerprint", "owner", "claimed", "snoozed", "tag",
                 "job_id")  # fmt: skip
        filters = Filters(
            state=None if state == "all" else state,
            queue=of_queue,
            reason=came_by,
            since=_ago(newer),
            until=_ago(older),
            **{name: own.pop(name) for name in names},
        )
        command(*args, filters=filters, **own)

    return with_filters


def desk_from_context(ctx: click.Context) -> Desk:
    """The desk of the app that the command line names; raises ``StoreMissing``: it makes none."""
    existing_store(ctx)
    desk: Desk = ctx.obj.app().desk
    return desk.reached_by(f"command line on {socket.gethostname()}")


def seen(desk: Desk, case_id: str, version: int | None) -> int:
    """The version that is acted on."""
    return desk.get(case_id).version if version is None else version


def who_of(desk: Desk, named: str | None) -> str:
    """Who acts: as named, else the user of this machine, as the config knows him."""
    if named:
        return named
    return local_name(desk.options.people)


def _ago(age: timedelta | None) -> float | None:
    return None if age is None else clock.now() - age.total_seconds()
