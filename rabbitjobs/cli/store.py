"""`rabbitjobs store`: the schema and the upkeep of the store."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from rabbitjobs.backend.sql import SqlBackend
from rabbitjobs.errors import StoreError, StoreOutdated
from rabbitjobs.store.engine import Store
from rabbitjobs.store.fresh import REVISIONS
from rabbitjobs.store.migrate import check_version
from rabbitjobs.store.outbox import Outbox

url_option = click.option(
    "--url", default=None, help="The store's URL; default: the app's. Passwords show in `ps`."
)
as_json = click.option("--json", "json_", is_flag=True, help="Print JSON, for scripts.")


def store_from_context(ctx: click.Context, url: str | None) -> Store:
    """The store with this URL, else the app's."""
    if url is not None:
        return Store(url)
    found: Store | None = ctx.obj.app().parts.store
    if found is None:
        raise StoreError("expected a store, got `store: {url: none}`; set store.url")
    return found


def existing_store(ctx: click.Context, url: str | None = None) -> Store:
    """As ``store_from_context``, for commands that only look: raises ``StoreMissing``."""
    found = store_from_context(ctx, url)
    found.must_exist()
    return found


@click.group()
def store() -> None:
    """Look after the store: results, inbox, outbox and cases."""


@store.command()
@url_option
@as_json
@click.pass_context
def migrate(ctx: click.Context, *, url: str | None, json_: bool) -> None:
    """Bring the schema to this release's; safe to run several times and at once."""
    found = store_from_context(ctx, url)
    before = found.migrate()
    _print(
        ctx, json_,
        {"store": found.where, "before": before, "now": REVISIONS[-1]},
        f"{found.where}: schema {before or '(none)'} -> {REVISIONS[-1]}"
        if before != REVISIONS[-1]
        else f"{found.where}: schema {REVISIONS[-1]}, nothing to do",
    )  # fmt: skip


@store.command()
@url_option
@as_json
@click.pass_context
def status(ctx: click.Context, *, url: str | None, json_: bool) -> None:
    """Say where the store is and what state it is in; exit code 1 if it must be migrated."""
    found = existing_store(ctx, url)
    version = found.version()
    problem = _problem(version, found.where)
    waiting = None if problem else Outbox(found).waiting()
    facts = {
        "store": found.where,
        "schema": version,
        "expected": REVISIONS[-1],
        "one_machine": found.one_machine,
        "outbox_waiting": waiting,
        "problem": problem,
    }
    lines = [
        f"store   {found.where}",
        f"schema  {version or 'none'} (this release: {REVISIONS[-1]})",
        *([] if waiting is None else [f"outbox  {waiting} waiting"]),
        *(["serves  this machine only: SQLite; use PostgreSQL beyond"] * found.one_machine),
        *([problem] if problem else []),
    ]
    _print(ctx, json_, facts, "\n".join(lines))
    ctx.exit(1 if problem else 0)


@store.command()
@url_option
@as_json
@click.pass_context
def clean(ctx: click.Context, *, url: str | None, json_: bool) -> None:
    """Delete expired results, old inbox rows, unique keys and leases past their time."""
    swept = SqlBackend(existing_store(ctx, url)).clean()
    text = ", ".join(f"{number} {name}" for name, number in swept._asdict().items())
    _print(ctx, json_, swept._asdict(), f"deleted: {text}")


def _problem(version: str | None, where: str) -> str | None:
    try:
        check_version(version, where)
    except StoreOutdated as error:
        return error.text
    return None


def _print(ctx: click.Context, json_: bool, facts: dict[str, Any], text: str) -> None:
    wanted = json_ or bool(getattr(ctx.obj, "json", False))
    click.echo(msgspec.json.encode(facts).decode() if wanted else text)
