"""``rabbitjobs run``: a process for every queue and role, kept running."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rabbitjobs.cli.duration import grace_option
from rabbitjobs.cli.health import health_options
from rabbitjobs.cli.options import CliContext
from rabbitjobs.clock import format_duration
from rabbitjobs.errors import ConfigError, ConnectionLost, Problem, WorkerError

if TYPE_CHECKING:
    from rabbitjobs.process.address import Address
    from rabbitjobs.process.child import Child
    from rabbitjobs.topology.model import TopologySpec

INTAKE = "intake"
NOTIFY = "notify"
_ROLES = {INTAKE: "the review intake", NOTIFY: "the notifier"}


@click.command()
@click.argument("queues", nargs=-1)
@click.option(
    "--processes",
    multiple=True,
    metavar="QUEUE=COUNT",
    help="How many processes for a queue, else its `processes`; may be repeated.",
)
@click.option(
    "--intake/--no-intake", default=True, show_default=True, help="Run the review intake too."
)
@click.option("--notify/--no-notify", default=True, show_default=True, help="Run the notifier too.")
@grace_option
@health_options
@click.option("--apply", is_flag=True, help="Declare the topology first.")
@click.pass_obj
def run(
    obj: CliContext,
    queues: tuple[str, ...],
    processes: tuple[str, ...],
    intake: bool,
    notify: bool,
    grace: timedelta | None,
    health: Address | None,
    health_file: Path | None,
    apply: bool,
) -> None:
    """Supervise one process or more for each of QUEUES (all, if none is named) and the other roles.

    What crashes is started again with backoff. SIGTERM is forwarded, a second one is sharp; SIGHUP
    replaces the processes one by one, each before the old one stops.
    """
    obj.log()
    from rabbitjobs.app.roles import worker_name
    from rabbitjobs.monitor.tail import LateBroadcaster
    from rabbitjobs.process.supervisor import Supervisor

    app = obj.app(needed=True)
    app.check()
    wanted = _wanted(queues, tuple(app.spec.queues))
    counts = _counts(processes, app.spec, wanted)
    roles = [INTAKE] * (intake and app.parts.store_url is not None) + [NOTIFY] * notify
    _check_names(app.spec, counts, roles)
    if apply:
        app.apply()
    # Once, here: a topology that differs would end every process again and again.
    with contextlib.suppress(ConnectionLost):  # a broker that is away is waited for, by each
        app.parts.verify()
    if obj.log_format == "auto" and sys.stderr.isatty():
        obj.log_format = "console"  # for the children, who write into the table's pipe
    app.close()
    grace = app.settings.grace if grace is None else grace
    tail = ("--grace", format_duration(grace))
    children = _children(obj.command(), counts, roles, tail)
    # What happens to processes is an event like others, for hooks and for who watches.
    LateBroadcaster(app.bus, app.parts.session, namespace=app.namespace, worker=worker_name())
    code = Supervisor(
        children, grace=grace.total_seconds(), bus=app.bus, health=(health, health_file)
    ).run()
    app.close()
    sys.exit(code)


def _wanted(queues: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    listed = ", ".join(known)
    unknown = [queue for queue in queues if queue not in known]
    if unknown:
        raise WorkerError(f"expected queues of the topology ({listed}), got {', '.join(unknown)}")
    twice = [name for name, times in Counter(queues).items() if times > 1]
    if twice:
        raise WorkerError(
            f"expected each queue once, got {', '.join(twice)} twice; "
            f"use --processes {twice[0]}=2 for two processes"
        )
    return queues or known


def _counts(texts: tuple[str, ...], spec: TopologySpec, wanted: tuple[str, ...]) -> dict[str, int]:
    """How many processes each queue gets: by the command line, else by the config."""
    counts = {name: spec.queues[name].processes for name in wanted}
    said: set[str] = set()
    for text in texts:
        name, _, number = text.rpartition("=")
        if name not in wanted or not number.isdecimal() or int(number) < 1:
            raise WorkerError(
                "expected QUEUE=COUNT with a queue that is run "
                f"({', '.join(wanted)}) and 1 or more, got {text!r}"
            )
        if name in said:
            raise WorkerError(f"expected one --processes for queue {name}, got a second: {text!r}")
        said.add(name)
        counts[name] = int(number)
    return counts


def _names(queue: str, count: int) -> Iterable[str]:
    return (f"{queue} {place}" if count > 1 else queue for place in range(1, count + 1))


def _check_names(spec: TopologySpec, counts: Mapping[str, int], roles: Iterable[str]) -> None:
    """Refuse two processes with one name: nobody could tell them apart in logs and events."""
    taken = {role: f"{_ROLES[role]} (--no-{role} here)" for role in roles}
    problems = []
    for queue, count in counts.items():
        for name in _names(queue, count):
            if name in taken:
                problems.append(
                    Problem(
                        spec.file or "(no config)",
                        spec.queues[queue].line,
                        f"queues.{queue}",
                        f"a name other than that of the process of {taken[name]}",
                        repr(name),
                    )
                )
            taken.setdefault(name, f"queue {queue!r}")
    if problems:
        raise ConfigError(tuple(problems))


def _children(
    command: tuple[str, ...],
    counts: Mapping[str, int],
    roles: Iterable[str],
    tail: tuple[str, ...],
) -> list[Child]:
    from rabbitjobs.process.child import Child

    ours = {INTAKE: ("intake",), NOTIFY: ("notify", "run")}
    return [
        *(
            Child(name, (*command, "consume", queue, *tail), group=queue)
            for queue, count in counts.items()
            for name in _names(queue, count)
        ),
        *(Child(role, (*command, *ours[role], *tail), group=role) for role in roles),
    ]
