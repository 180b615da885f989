"""``rabbitjobs run``: a process for every queue and role, kept running."""

from __future__ import annotations

import contextlib
import sys
from datetime import timedelta

import click

from rabbitjobs.cli.duration import grace_option
from rabbitjobs.cli.options import CliContext
from rabbitjobs.clock import format_duration
from rabbitjobs.errors import ConnectionLost, WorkerError


def _counts(texts: tuple[str, ...], queues: tuple[str, ...]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        if name not in queues or not number.isdigit() or int(number) < 1:
            raise WorkerError(
                "expected QUEUE=COUNT with a queue of the topology "
                f"({', '.join(queues)}), got {text!r}"
            )
        counts[name] = int(number)
    return counts


@click.command()
@click.argument("queues", nargs=-1)
@click.option(
    "--processes",
    multiple=True,
    metavar="QUEUE=COUNT",
    help="More than one process for a queue; may be repeated.",
)
@click.option(
    "--intake/--no-intake", default=True, show_default=True, help="Run the review intake too."
)
@click.option("--notify/--no-notify", default=True, show_default=True, help="Run the notifier too.")
@grace_option
@click.option("--apply", is_flag=True, help="Declare the topology first.")
@click.pass_obj
def run(
    obj: CliContext,
    queues: tuple[str, ...],
    processes: tuple[str, ...],
    intake: bool,
    notify: bool,
    grace: timedelta | None,
    apply: bool,
) -> None:
    """Supervise one process or more for each of QUEUES (all, if none is named) and the other roles.

    What crashes is started again with backoff; SIGTERM is forwarded, a second one is sharp.
    """
    obj.log()
    from rabbitjobs.process.child import Child
    from rabbitjobs.process.supervisor import Supervisor

    app = obj.app(needed=True)
    app.check()
    known = tuple(app.spec.queues)
    unknown = [queue for queue in queues if queue not in known]
    if unknown:
        raise WorkerError(
            f"expected queues of the topology ({', '.join(known)}), got {', '.join(unknown)}"
        )
    if apply:
        app.apply()
    # Once, here: a topology that differs would end every process again and again.
    with contextlib.suppress(ConnectionLost):  # a broker that is away is waited for, by each
        app.parts.verify()
    counts = _counts(processes, known)
    if obj.log_format == "auto" and sys.stderr.isatty():
        obj.log_format = "console"  # for the children, who write into the table's pipe
    command = obj.command()
    children = [
        Child(
            f"{queue}{f' {place}' if counts.get(queue, 1) > 1 else ''}",
            (*command, "consume", queue),
        )
        for queue in queues or known
        for place in range(1, counts.get(queue, 1) + 1)
    ]
    if intake and app.parts.store_url is not None:
        children.append(Child("intake", (*command, "intake")))
    if notify:
        children.append(Child("notify", (*command, "notify", "run")))
    app.close()
    grace = app.settings.grace if grace is None else grace
    for child in children:
        child.command = (*child.command, "--grace", format_duration(grace))
    sys.exit(Supervisor(children, grace=grace.total_seconds()).run())
