"""``rabbitjobs events``: watch live what the workers do."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from rabbitjobs.cli.options import CliContext
from rabbitjobs.monitor.logs import escape, escape_json
from rabbitjobs.monitor.tail import Batch, Watcher


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--count", type=click.IntRange(min=1), help="End after this many events.")
@click.pass_obj
def events(obj: CliContext, as_json: bool, count: int | None) -> None:
    """Tail the events of every worker. What happened before is not seen; see `result`."""
    app = obj.app()
    left = [count]

    def show(batch: Batch) -> None:
        if batch.dropped:
            click.echo(f"({batch.dropped} events of {batch.worker} were dropped)", err=True)
        for event in batch.events:
            if left[0] == 0:
                return
            fields: dict[str, Any] = msgspec.to_builtins(event)
            click.echo(_json(fields) if as_json else _line(fields))
            left[0] = left[0] - 1 if left[0] is not None else None

    watcher = Watcher(app.parts.session(), app.namespace, show)
    watcher.ready.wait(10)
    click.echo("watching; end with Ctrl-C", err=True)
    try:
        while left[0] != 0:
            time.sleep(0.05)
    except KeyboardInterrupt:
        pass
    finally:
        app.close()


def _json(fields: dict[str, Any]) -> str:
    return escape_json(json.dumps(fields, ensure_ascii=False))


def _line(fields: dict[str, Any]) -> str:
    at = datetime.fromtimestamp(fields.pop("at"), UTC).astimezone().strftime("%H:%M:%S.%f")[:-3]
    kind = fields.pop("event")
    rest = " ".join(f"{name}={escape(str(value))}" for name, value in fields.items())
    return f"{at} {kind:<18} {rest}"
