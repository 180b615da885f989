"""``rabbitjobs inspect``: ask workers what they are doing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click

from rabbitjobs.cli.asking import ask, asking, line
from rabbitjobs.cli.options import CliContext
from rabbitjobs.control import protocol
from rabbitjobs.monitor.logs import escape


@click.group()
def inspect() -> None:
    """Ask workers what they do. Exit 0: all answered; 1: one refused; 3: one did not answer."""


@inspect.command()
@asking
@click.pass_obj
def ping(obj: CliContext, workers: tuple[str, ...], timeout: timedelta, as_json: bool) -> None:
    """Ask whether workers are there: answered even while a job blocks one's event loop."""
    _ask(obj, protocol.Ping(), lambda _value: line("pong"), workers, timeout, as_json)


@inspect.command()
@asking
@click.pass_obj
def stats(obj: CliContext, workers: tuple[str, ...], timeout: timedelta, as_json: bool) -> None:
    """Show processes and their queues: slots, what runs, what waits."""
    _ask(obj, protocol.Stats(), _show_stats, workers, timeout, as_json)


@inspect.command()
@asking
@click.pass_obj
def active(obj: CliContext, workers: tuple[str, ...], timeout: timedelta, as_json: bool) -> None:
    """Show the jobs that run now."""
    _ask(obj, protocol.Active(), _show_jobs, workers, timeout, as_json)


@inspect.command()
@asking
@click.pass_obj
def reserved(obj: CliContext, workers: tuple[str, ...], timeout: timedelta, as_json: bool) -> None:
    """Show the jobs that workers hold and have not started."""
    _ask(obj, protocol.Reserved(), _show_jobs, workers, timeout, as_json)


@inspect.command()
@asking
@click.pass_obj
def registered(
    obj: CliContext, workers: tuple[str, ...], timeout: timedelta, as_json: bool
) -> None:
    """Show the jobs that workers know."""
    _ask(obj, protocol.Registered(), _show_registered, workers, timeout, as_json)


@inspect.command()
@asking
@click.pass_obj
def stacks(obj: CliContext, workers: tuple[str, ...], timeout: timedelta, as_json: bool) -> None:
    """Show where running jobs are in their code."""
    _ask(obj, protocol.Stacks(), _show_stacks, workers, timeout, as_json)


def _ask(
    obj: CliContext,
    command: protocol.AnyCommand,
    shown: Any,
    workers: tuple[str, ...],
    timeout: timedelta,
    as_json: bool,
) -> None:
    ask(obj, command, shown, workers=workers, timeout=timeout, as_json=as_json)


def _show_stats(value: dict[str, Any]) -> None:
    memory = value["most_memory"] / 1024**2
    line(f"pid {value['pid']}, up {value['seconds']:.0f} s, at most {memory:.0f} MiB of memory")
    for queue in value["queues"]:
        line(
            f"{queue['queue']}: {queue['state']}, {queue['busy']} of {queue['slots']} slots busy, "
            f"{queue['waiting']} waiting, {queue['settled']:,} settled, "
            f"{queue['given_back']:,} given back, {queue['cancellations']:,} cancellations"
            + (f", {queue['trouble']}" if queue.get("trouble") else "")
        )


def _show_jobs(value: list[dict[str, Any]]) -> None:
    for job in value:
        running = f", {job['seconds']:.1f} s" if "seconds" in job else ""
        tag = f", tag {job['tag']}" if job["tag"] else ""
        cancelled = ", cancelled" if job.get("cancelled") else ""
        line(f"{job['job_id']} {job['job']} attempt {job['attempt']}{running}{tag}{cancelled}")
    if not value:
        line("none")


def _show_registered(value: list[dict[str, Any]]) -> None:
    for job in value:
        line(f"{job['job']} on {job['queue']}" + (f", pool {job['pool']}" if job["pool"] else ""))
    if not value:
        line("none")


def _show_stacks(value: list[dict[str, Any]]) -> None:
    for job in value:
        line(f"{job['job_id']} {job['job']} attempt {job['attempt']}")
        text = job["stack"] or "it runs in another process, or has just ended"
        for one in text.splitlines():
            click.echo(f"    {escape(one)}")
    if not value:
        line("nothing runs")
