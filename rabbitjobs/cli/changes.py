"""What a topology command would change or has changed, as a table that a person reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import click

from rabbitjobs.cli.table import show
from rabbitjobs.monitor.logs import escape
from rabbitjobs.topology import names
from rabbitjobs.topology.diff import Action, Change, Changes
from rabbitjobs.topology.objects import Binding

Row = tuple[str, str, str, str]
# The ladder is one thing to a person, and three quarters of what stands on the broker.
FOLDED_FROM = 4
SHOWN = 5
_PLURALS = {"policy": "policies", "exchange": "exchanges", "queue": "queues", "binding": "bindings"}


def print_changes(changes: Changes, namespace: str, verb: str, *, full: bool = False) -> None:
    """Print every change; those of the delay ladder are one row for each action unless ``full``."""
    if not changes:
        click.echo("Nothing to change: the broker holds what the config says.")
        return
    rows = [_row(item) for item in changes.items] if full else folded(changes.items, namespace)
    show(("action", "what", "name", "detail"), rows)
    for item in changes.refused:
        click.echo(f"{item.action} {item.kind} {escape(item.name)}: {escape(item.advice)}")
    click.echo(f"{len(changes.items)} {verb}")


def print_left_over(left: Sequence[str]) -> None:
    """Name what stands in our namespace and in no plan: an older config's, or another team's."""
    if not left:
        return
    more = f" and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
    shown = ", ".join(escape(name) for name in left[:SHOWN])
    click.echo(
        f"{len(left)} left over, of another config or an older one: {shown}{more}; "
        "see `rabbitjobs topology drift`"
    )


def folded(items: Sequence[Change], namespace: str) -> list[Row]:
    """A row for each change; many of one kind of action on the delay levels are one row."""
    ladder: dict[Action, list[Change]] = {}
    for item in items:
        if item.action in ("create", "change", "unbind") and _of_ladder(item, namespace):
            ladder.setdefault(item.action, []).append(item)
    rows: list[Row] = []
    for item in items:
        group = ladder.get(item.action, [])
        if len(group) < FOLDED_FROM or item not in group:
            rows.append(_row(item))
        elif item is group[0]:
            rows.append((item.action, "delay levels", _levels(namespace), _counted(group)))
    return rows


def _row(item: Change) -> Row:
    return item.action, item.kind, item.name, item.detail


def _of_ladder(item: Change, namespace: str) -> bool:
    prefix = f"{names.delay_exchange(namespace)}."
    if isinstance(item.subject, Binding):
        ends = (item.subject.source, item.subject.destination)
        return any(end.startswith(prefix) for end in ends)
    return item.name.startswith(prefix)


def _levels(namespace: str) -> str:
    return f"{names.delay_exchange(namespace)}.*"


def _counted(group: Iterable[Change]) -> str:
    found = Counter(item.kind for item in group)
    return ", ".join(
        f"{count} {kind if count == 1 else _PLURALS[kind]}" for kind, count in found.items()
    )
