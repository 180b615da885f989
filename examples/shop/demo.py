"""The demo: six days of a real shop's orders go through rabbitjobs while things break.

    python -m examples.shop.demo            (about a minute; exit 0 only when the ledger balances)

It starts a private RabbitMQ, a mail server that greylists, refuses and is killed once, a carrier
that is down for a while, and the shop's workers, three of which are killed with SIGKILL in
the middle. It publishes every order, waits until each job rests, adds everything up, and then sits
down at the review desk.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from examples.shop import audit, desk_page, desk_visit
from examples.shop.accidents import Accident, Accidents
from examples.shop.orders import job_id, read_records
from examples.shop.processes import Processes
from examples.shop.screen import Screen
from examples.shop.stage import MAIL_SERVER, Stage, environment, set_stage
from rabbitjobs.broker.node import Node

BATCH = 200
TICK = 0.25
MAIL_OUTAGE = 2.0
PATIENCE = 300.0


def publish(records: Sequence[tuple[int, str]], screen: Screen) -> list[int]:
    """Send every record: most in confirmed batches, the last one alone; returns their numbers."""
    # Imported here: the app finds its broker in the environment, which the stage has just set.
    from examples.shop.jobs import app, place_order, write_journal

    *most, (last, last_record) = records
    for start in range(0, len(most), BATCH):
        calls = [
            job.options(id=job_id(number, kind)).call(number, record)
            for number, record in most[start : start + BATCH]
            for kind, job in (("note", write_journal), ("order", place_order))
        ]
        for sent in app.send_many(calls):
            if sent.error is not None:
                raise sent.error
    write_journal.options(id=job_id(last, "note")).send(last, last_record)
    place_order.options(id=job_id(last, "order")).send(last, last_record)
    screen.say(f"{len(records)} orders sent, each confirmed by the broker")
    return [number for number, _ in records]


def plan_accidents(stage: Stage, screen: Screen, orders: int) -> Accidents:
    """A worker dies a quarter of the way, the mail server at a third, two workers at half."""

    def kill_mail_server() -> None:
        pid = stage.processes.kill(MAIL_SERVER)
        screen.say(f"[red]kill -9[/red] of the mail server (pid {pid})")

    def restart_mail_server() -> None:
        stage.restart_mail_server()
        screen.say("the mail server is back")

    def kill_worker(queue: str) -> None:
        pid = stage.kill_a_worker(queue)
        screen.say(f"[red]kill -9[/red] of the worker of {queue} (pid {pid}), jobs in its hands")

    return Accidents(
        Accident("invoice", orders // 4, lambda: kill_worker("invoices")),
        Accident("mail", orders // 3, kill_mail_server, MAIL_OUTAGE, restart_mail_server),
        Accident("note", orders // 2, lambda: kill_worker("audit")),
        Accident("mail", orders // 2, lambda: kill_worker("confirmations")),
    )


def wait_for_rest(
    stage: Stage, orders: Sequence[int], screen: Screen, accidents: Accidents
) -> None:
    """Watch until every job rests, the desk has its cases and all accidents have passed.

    Gives up after ``PATIENCE`` seconds: the ledger then names what does not rest.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        states = audit.read_states(stage.store)
        counts = audit.count(states)
        screen.progress(len(orders), counts)
        over = accidents.watch(counts)
        on_desk = sum(state == "in-review" for state in states.values())
        rest = audit.at_rest(audit.sent_jobs(orders, states), states)
        if over and rest and audit.open_cases(stage.store) == on_desk:
            return
        time.sleep(TICK)
    screen.say(f"[red]not at rest after {PATIENCE:.0f} s[/red]")


def reckon(stage: Stage, orders: Sequence[int], screen: Screen) -> bool:
    """Add everything up, show it, and say whether it holds."""
    states = audit.read_states(stage.store)
    world = audit.look_around(stage.folder, stage.ignored())
    ledger = audit.reckon(orders, states, world, stage.held())
    screen.show(ledger)
    return ledger.holds


def play(stage: Stage, records: Sequence[tuple[int, str]], screen: Screen) -> bool:
    """The whole day; returns whether both reckonings balance."""
    os.environ |= stage.processes.environment
    changed = stage.rabbitjobs("topology", "apply").strip().splitlines()[-1]
    screen.say(f"rabbitjobs topology apply: {changed}")
    stage.rabbitjobs("store", "migrate")
    stage.start_workers()
    orders = publish(records, screen)
    wait_for_rest(stage, orders, screen, plan_accidents(stage, screen, len(orders)))
    balanced = reckon(stage, orders, screen)
    screen.say(f"{stage.notices()} failures that no rule knew were told by the notifier")
    if balanced:
        handled = desk_visit.visit(stage, screen)
        wait_for_rest(stage, orders, screen, Accidents())
        desk_visit.show_results(stage, screen, handled)
        balanced = reckon(stage, orders, screen)
    return balanced


def main(arguments: Sequence[str] | None = None) -> int:
    """Set the stage, play, clear it away; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--orders", type=int, help="only the first N orders (all of them: 1405)")
    parser.add_argument(
        "--keep", type=Path, help="keep logs, store and invoices in this new folder"
    )
    parser.add_argument("--web", action="store_true", help="keep the review desk's page open")
    options = parser.parse_args(arguments)
    # SIGTERM ends the demo as Ctrl-C does: both clear the stage away.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    records = read_records(limit=options.orders)
    with Screen() as screen, tempfile.TemporaryDirectory(prefix="rabbitjobs-demo-") as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with Node(report=screen.say) as node:
                screen.say(f"RabbitMQ {node.version} runs, ours alone, on the loopback address")
                with Processes(environment(folder, node), folder) as processes:
                    stage = set_stage(folder, node, processes)
                    balanced = play(stage, records, screen)
                    if options.web:
                        desk_page.keep_open(stage, screen)
        except KeyboardInterrupt:
            screen.say("interrupted; everything that we started has been ended")
            return 130
    screen.say(
        "[green]The ledger balances.[/green]" if balanced else "[red]The ledger FAILS.[/red]"
    )
    return 0 if balanced else 1


if __name__ == "__main__":
    sys.exit(main())
