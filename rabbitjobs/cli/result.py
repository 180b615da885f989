"""``rabbitjobs result ID``: where a job stands and what it returned."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from rabbitjobs.backend.protocol import Status, Stored
from rabbitjobs.cli.duration import DurationType
from rabbitjobs.cli.options import CliContext
from rabbitjobs.cli.store import existing_store
from rabbitjobs.errors import JobFailed, ResultError, StoreMissing
from rabbitjobs.monitor.logs import escape, escape_json


@click.command()
@click.argument("job_id", metavar="ID")
@click.option("--wait", type=DurationType(), help="Wait this long for the job's end.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@click.pass_context
def result(ctx: click.Context, job_id: str, wait: timedelta | None, as_json: bool) -> None:
    """Show job ID. Exit 0: it succeeded; 1: it ended otherwise; 3: not ended, or unknown."""
    obj: CliContext = ctx.obj
    _expect_store(ctx, wait or timedelta(0))
    handle = obj.app().handle(job_id)
    if wait is not None:
        with contextlib.suppress(JobFailed, ResultError):  # what there is to know is shown below
            handle.result(wait.total_seconds())
    stored = handle.info()
    shown = _plain(job_id, stored)
    if as_json:
        click.echo(escape_json(json.dumps(shown, ensure_ascii=False)))
    else:
        for name, value in shown.items():
            if value is not None:
                click.echo(f"{name + ':':12} {_text(value)}")
    status = stored.status if stored else Status.UNKNOWN
    sys.exit(0 if status is Status.SUCCEEDED else 1 if status.final else 3)


def _expect_store(ctx: click.Context, patience: timedelta) -> None:
    """Whoever waits may be here before the first worker, which makes the store."""
    if ctx.obj.settings().no_store:
        return
    late = time.monotonic() + patience.total_seconds()
    while True:
        try:
            existing_store(ctx)
            return
        except StoreMissing:
            if time.monotonic() >= late:
                raise
        time.sleep(0.1)


def _plain(job_id: str, stored: Stored | None) -> dict[str, Any]:
    if stored is None:
        why = "nothing is recorded: it has not started yet, or there is no such id, or it expired"
        return {"id": job_id, "status": Status.UNKNOWN.value, "why": why}
    return {
        "id": job_id,
        "job": stored.job,
        "queue": stored.queue,
        "status": stored.status.value,
        "attempt": stored.attempt,
        "enqueued": _moment(stored.enqueued),
        "started": _moment(stored.started),
        "ended": _moment(stored.ended),
        "progress": json.loads(stored.progress) if stored.progress else None,
        "result": json.loads(stored.result) if stored.result else None,
        "error_type": stored.error_type,
        "error": stored.error,
        "traceback": stored.traceback or None,
    }


def _moment(at: float | None) -> str | None:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds") if at else None


def _text(value: Any) -> str:
    if isinstance(value, str) and "\n" in value:
        return "\n" + "\n".join(f"  {escape(line)}" for line in value.splitlines())
    return escape(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
