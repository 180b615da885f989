"""``rabbitjobs queue``: look into queues."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import click

from rabbitjobs.cli import reaching
from rabbitjobs.cli.options import CliContext
from rabbitjobs.cli.table import show
from rabbitjobs.errors import ConnectionLost, ManagementError, TopologyError
from rabbitjobs.message import headers as h
from rabbitjobs.message.properties import from_text
from rabbitjobs.monitor import queues
from rabbitjobs.monitor.facts import BrokerFacts
from rabbitjobs.monitor.logs import escape, escape_json
from rabbitjobs.topology.objects import Queue
from rabbitjobs.topology.plan import Plan
from rabbitjobs.wire.protocol import Delivery

BODY_SHOWN = 2_000
VALUE_SHOWN = 300


@click.group()
def queue() -> None:
    """Look into queues: list, peek, purge."""


@queue.command("list")
@click.option("--all", "everything", is_flag=True, help="The empty waiting rooms of delays too.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@click.pass_obj
def list_(obj: CliContext, everything: bool, as_json: bool) -> None:
    """Show what waits where. `unacked` and `held` may be seconds old."""
    broker = _facts(obj)
    found = queues.rows(broker, everything=everything)
    if as_json:
        click.echo(escape_json(json.dumps(found, ensure_ascii=False, indent=2)))
        return
    columns = ("queue", "role", "ready", "unacked", "held", "consumers", "fault")
    numbers = frozenset({"ready", "unacked", "held", "consumers"})
    show(columns, [[row[column] for column in columns] for row in found], right=numbers)
    if broker.management_error:
        click.echo(f"without unacked and held: {escape(broker.management_error)}", err=True)


@queue.command()
@click.argument("name", metavar="QUEUE")
@click.option("--count", type=click.IntRange(1, 1000), default=5, show_default=True)
@click.option("--yes", is_flag=True, help="Do it: without this only what it disturbs is said.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@click.pass_obj
def peek(obj: CliContext, name: str, count: int, yes: bool, as_json: bool) -> None:
    """Look at messages at the head of QUEUE, and hand them back. Exit 2: not done without --yes."""
    broker, plan, found = _found(obj, name)
    for sentence in queues.peek_disturbs(found, plan.capabilities, plan.spec):
        click.echo(f"- {sentence}", err=True)
    if not yes:
        click.echo("nothing was done; repeat with --yes to look", err=True)
        sys.exit(2)
    messages = asyncio.run(_peek(obj, found, count))
    shown = [_plain(message) for message in messages]
    if as_json:
        click.echo(escape_json(json.dumps(shown, ensure_ascii=False, indent=2)))
        return
    for message in shown:
        _show(message)
    ready = broker.queues[found.name].ready
    click.echo(f"{len(shown)} of {ready:,} ready messages of {found.name}")


@queue.command()
@click.argument("name", metavar="QUEUE")
@click.option("--yes", is_flag=True, help="Do it without asking.")
@click.pass_obj
def purge(obj: CliContext, name: str, yes: bool) -> None:
    """Destroy every ready message of QUEUE. Exit 2: not done."""
    broker, plan, found = _found(obj, name)
    ready = broker.queues[found.name].ready
    for sentence in queues.purge_destroys(found, ready, plan.capabilities):
        click.echo(f"- {sentence}", err=True)
    if not yes and not _agreed(found):
        click.echo("nothing was done; repeat with --yes to purge", err=True)
        sys.exit(2)
    api = reaching.management(obj)
    if api is None:
        raise ManagementError("expected a management API to purge with; set broker.management_url")
    with api:
        api.purge(reaching.addresses(obj)[0].vhost, found.name)
    click.echo(f"purged {found.name}: {ready:,} messages were ready before")


@queue.command(name="put-back")
@click.argument("name", metavar="quarantine|undeliverable")
@click.option("--to", metavar="QUEUE", help="The work queue; else the one each job was for.")
@click.pass_obj
def put_back_command(obj: CliContext, name: str, to: str | None) -> None:
    """Send the jobs of quarantine or undeliverable again: after a renamed job, a deleted queue.

    What cannot be read stays, what is for a queue that does not exist, and where jobs are signed,
    what no key signed. A job out of quarantine comes back as its next attempt.
    """
    from rabbitjobs.publisher.putting_back import PutBack, put_back, sources

    app = obj.app()
    known = sources(app.namespace)
    source = known.get(name) or (name if name in known.values() else None)
    if source is None:
        raise click.UsageError(f"expected one of {', '.join(known)}, got {name!r}")

    async def work() -> PutBack:
        wire = await reaching.opened(obj)
        try:
            publish, signing = app.publisher.confirmed, app.parts.signing
            return await put_back(
                wire, source, to=to, spec=app.spec, publish=publish, signing=signing
            )
        finally:
            await wire.close()

    done = asyncio.run(work())
    app.close()
    why = " or are not signed by a key of ours" if app.parts.signing is not None else ""
    click.echo(
        f"{done.sent:,} jobs of {source} sent again; {done.unreadable:,} cannot be read{why} and "
        f"stay; {done.unseen:,} not looked at"
    )
    if done.homeless:
        click.echo(
            f"{done.homeless:,} are for a queue that the topology does not have, and stay: send "
            "them with --to QUEUE"
        )


def _agreed(found: Queue) -> bool:
    if not sys.stdin.isatty():
        return False
    answer: str = click.prompt(f"Type the queue's name ({found.name}) to purge it", default="")
    return answer == found.name


def _facts(obj: CliContext) -> BrokerFacts:
    broker = reaching.facts(obj)
    if broker.error:
        raise ConnectionLost(broker.error)
    if broker.plan is None:
        raise TopologyError(broker.plan_error or broker.version_error)
    return broker


def _found(obj: CliContext, name: str) -> tuple[BrokerFacts, Plan, Queue]:
    broker = _facts(obj)
    assert broker.plan is not None
    return broker, broker.plan, queues.find_queue(broker.plan, name)


async def _peek(obj: CliContext, found: Queue, count: int) -> list[Delivery]:
    wire = await reaching.opened(obj)
    try:
        return await queues.peek(wire, found.name, count)
    finally:
        await wire.close()


def _plain(message: Delivery) -> dict[str, Any]:
    properties = message.properties
    came_with = from_text(properties.headers.get(h.PROPERTIES))
    unreadable = {"came_with": came_with} if came_with is not None else {}
    return {
        "job": properties.type,
        "id": properties.headers.get(h.ID) or properties.message_id,
        "attempt": properties.headers.get(h.ATTEMPT, 1),
        "exchange": message.exchange,
        "routing_key": message.routing_key,
        "redelivered": message.redelivered,
        "damage": message.damage,
        "content_type": properties.content_type,
        "priority": properties.priority,
        "headers": {key: _value(value) for key, value in properties.headers.items()},
        "size": len(message.body),
        "body": message.body[:BODY_SHOWN].decode("utf-8", "backslashreplace"),
        **unreadable,
    }


def _value(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else repr(value)


def _show(message: dict[str, Any]) -> None:
    click.echo(
        escape(f"{message['job']}  id {message['id']}  attempt {message['attempt']}")
        + ("  redelivered" if message["redelivered"] else "")
    )
    for key, value in message["headers"].items():
        if key != h.PROPERTIES or "came_with" not in message:
            click.echo(f"    {escape(str(key))}: {escape(str(value))[:VALUE_SHOWN]}")
    for name, value in message.get("came_with", {}).items():
        click.echo(f"    came with {escape(name)}: {escape(str(value))[:VALUE_SHOWN]}")
    cut = "" if message["size"] <= BODY_SHOWN else f" … ({message['size']:,} bytes)"
    click.echo(f"    {escape(message['body'])}{cut}")
