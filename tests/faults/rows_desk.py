"""Rows of the review desk: whoever takes cases in and releases them is killed, or is not alone."""

from __future__ import annotations

import random
import re
import signal
import sqlite3
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from rabbitjobs.failpoints import EXIT_CODE, VARIABLE
from rabbitjobs.review.case import CaseLine
from tests.faults.desk import Desk, copied
from tests.faults.process import Failed, until
from tests.faults.row import row
from tests.faults.stage import Stage

# Where each process of the desk is killed. No failpoint of the desk may be missing here.
INTAKE_PLACES = ("after-intake-commit",)
DEADLINE_PLACES = ("after-deadline", "after-release-commit", "after-release-confirm")
RELEASE_PLACES = ("after-release-commit", "after-release-confirm")
BULK_PLACES = ("after-bulk-item", *RELEASE_PLACES)
PLACES = frozenset({*INTAKE_PLACES, *DEADLINE_PLACES, *BULK_PLACES})

LEASE = 31.0  # seconds after which what a dead process had in hand is another's
MONTH = 31 * 86400.0
BATCH = 3


@row()
def desk_intake_killed(stage: Stage) -> None:
    """At each place, and twice anywhere: one case for each failure, each deadline kept once."""
    desk, chance = Desk(stage), random.Random(stage.seed)
    desk.minds_the_clock()
    desk.is_configured("review: {deadlines: {work: {after: 10m, do: retry}}}")
    stage.load("--rate", "30")
    desk.send(20, rate="20")
    for place in INTAKE_PLACES:
        stage.fault()
        stage.intake(**{VARIABLE: place}).ends(EXIT_CODE)
    for _ in range(2):
        intake, before = stage.intake(), len(desk.cases())
        desk.send(20, rate="40")
        desk.grows(before)
        time.sleep(chance.uniform(0, 0.5))
        stage.fault()
        intake.kill()
    intake = stage.intake().says("healthy: consuming")
    cases = desk.awaits(60)
    desk.ends(intake)
    desk.passes(11 * 60)
    for place in DEADLINE_PLACES:
        stage.fault()
        stage.intake(**{VARIABLE: place}).ends(EXIT_CODE)
    stage.intake()
    until(lambda: not desk.cases("open"), "kept deadlines", why=desk.said)
    stage.flows(30)
    desk.passes(LEASE)
    stage.heal()
    desk.closes(cases)
    stage.recovers()


@row()
def desk_release_killed(stage: Stage) -> None:
    """Whoever releases dies at each place and does it again: what was promised is sent and counts.

    Workers are away meanwhile, so that both copies of what was confirmed lie in the queue.
    """
    desk = Desk(stage)
    desk.minds_the_clock()
    stage.intake()
    crew = stage.load("--rate", "30", workers=1)
    batches = desk.in_batches(desk.lands(BATCH * len(RELEASE_PLACES + BULK_PLACES)), BATCH)
    cases = [case for batch in batches for case in batch]
    desk.ends(*crew)
    for place in RELEASE_PLACES:
        words = desk.retrying(batch := batches.pop())
        desk.dies(place, *words)
        again = desk.reviews(*words)
        again.ends(1)  # of the first it is told that it is done; the others go now
        again.says(f"{batch[0].id}: expected case {batch[0].id} as it was at version")
    for place in BULK_PLACES:
        bulk = desk.froze(batches.pop())
        desk.dies(place, "bulk", "run", bulk)
        desk.reviews("bulk", "run", bulk).ends(0)
    desk.passes(LEASE)
    until(lambda: len(desk.cases("released")) == len(cases), "the relay", why=desk.said)
    stage.heal()
    (worker,) = stage.workers(1)
    desk.closes(cases)
    worker.says("duplicate message dropped", 2)  # one of each kill after the confirm
    stage.recovers()


@row()
def desk_web_killed(stage: Stage) -> None:
    """The web server dies at each place, under forms, calls and bulk actions; then anywhere."""
    desk, chance = Desk(stage), random.Random(stage.seed)
    desk.minds_the_clock()
    stage.intake()
    stage.load("--rate", "30")
    cases = desk.lands(2 * len(RELEASE_PLACES) + BATCH * len(BULK_PLACES) + 8)
    left = list(cases)
    singles = [left.pop() for _ in range(2 * len(RELEASE_PLACES))]
    for number, case in enumerate(singles):
        server = desk.serves(RELEASE_PLACES[number // 2])
        stage.fault()
        ask = desk.calls_retry if number % 2 else desk.fills_in
        if (answer := ask(case)) is not None:
            raise Failed(f"expected a server that dies, got {answer.status_code}: {answer.text}")
        server.ends(EXIT_CODE)
    bulks = []
    for place in BULK_PLACES:
        server = desk.serves(place)
        bulks.append(desk.froze([left.pop() for _ in range(BATCH)]))
        stage.fault()
        desk.calls(f"/bulks/{bulks[-1]}/run")
        server.ends(EXIT_CODE)
    _killed_anywhere(desk, left, chance.uniform(0, 0.3))
    server = desk.serves()
    for case in singles:
        desk.refused(case, desk.calls_retry(case), desk.fills_in(case))
    for bulk in bulks:
        desk.calls(f"/bulks/{bulk}/run")
    for case in left:
        desk.calls_retry(case)  # those that were not promised before the kill
    until(lambda: not desk.cases("open"), "releases", why=desk.said)
    stage.flows(30)
    desk.passes(LEASE)
    stage.heal()
    desk.closes(cases)
    desk.ends_serving(server)
    stage.recovers()


def _killed_anywhere(desk: Desk, cases: list[CaseLine], seconds: float) -> None:
    """Two at a time release all of these; the server is killed in the middle of it."""
    server = desk.serves()
    half = len(cases) // 2
    with ThreadPoolExecutor() as people:
        done = [
            people.submit(lambda: [desk.fills_in(case) for case in cases[:half]]),
            people.submit(lambda: [desk.calls_retry(case) for case in cases[half:]]),
        ]
        time.sleep(seconds)
        desk.stage.fault()
        server.kill()
    for one in done:
        one.result()


@row()
def desk_two_reviewers(stage: Stage) -> None:
    """Two people and a bulk action release the same cases at once: one wins, the others are told.

    Then two claim one case, and it is taken from whoever has it.
    """
    desk = Desk(stage)
    stage.intake()
    stage.load("--rate", "30")
    cases = desk.lands(20)
    ids = {case.id for case in cases}
    bulk = desk.froze(cases)
    people = ("ann", "bob")
    stage.fault()
    acting = [desk.reviews(*desk.retrying(cases), "--who", who) for who in people]
    acting.append(desk.reviews("bulk", "run", bulk))
    for one in acting:
        one.ends(None)
    wins: Counter[str] = Counter()
    for one in acting[:2]:
        won = {*re.findall(r"(?m)^case (\S+): (?:releas|closed)", one.log)}
        told = {*re.findall(r"(?m)^(\S+): expected case", one.log)}
        if won | told != ids or won & told:
            raise Failed(f"expected an answer for each case: {one.log}")
        wins.update(won)
    items = stage.app.desk.bulk.outcomes(bulk, limit=100).items
    wins.update(item.case_id for item in items if item.fate != "refused")
    if wins != Counter(dict.fromkeys(ids, 1)):
        raise Failed(f"expected one who wins for each case, got {wins}")
    stage.heal()
    desk.closes(cases)
    _claim_both(desk)
    stage.recovers()


def _claim_both(desk: Desk) -> None:
    """Of two who claim one case at once, one has it; after a theft the other."""
    (case,) = desk.lands(1)
    desk.stage.fault()
    both = {who: desk.reviews("claim", case.id, "--who", who) for who in ("ann", "bob")}
    for one in both.values():
        one.ends(None)
    (has,) = (who for who, one in both.items() if one.popen.returncode == 0)
    (other,) = both.keys() - {has}
    desk.reviews("retry", case.id, "--who", other).ends(1)
    desk.stage.fault()
    desk.reviews("steal", case.id, "--who", other, "--reason", "lunch").ends(0)
    desk.reviews("retry", case.id, "--who", has).ends(1)
    desk.reviews("retry", case.id, "--who", other).ends(0)
    desk.closes([case])


@row()
def desk_store_down(stage: Stage) -> None:
    """Somebody holds the database for 13 s: intake, web, CLI and a bulk action wait or say so."""
    desk = Desk(stage)
    intake = stage.intake()
    stage.load("--rate", "30")
    by_web, by_form, by_hand, in_bulk = desk.in_batches(desk.lands(16), 4)
    server = desk.serves()
    intake.signal(signal.SIGSTOP)
    sent = desk.send(20, rate="100")
    sent.ends(0)
    waiting = "faults.review"
    until(lambda: stage.totals()[waiting] >= 20, "messages for the desk", pause=0.2)
    bulk = desk.froze(in_bulk, "--rate", "2")
    running = desk.reviews("bulk", "run", bulk)
    running.says("1 under way")
    with closing(sqlite3.connect(stage.folder / "store.db", timeout=10)) as held:
        held.isolation_level = None
        held.execute("BEGIN IMMEDIATE")
        stage.fault()
        began = time.monotonic()
        intake.signal(signal.SIGCONT)
        by_cli = desk.reviews("retry", by_hand[0].id)
        desk.without_store(desk.calls_retry(by_web[0]))
        by_cli.ends(1)
        by_cli.says("expected a store that takes writes")
        until(lambda: time.monotonic() > began + 13, "thirteen seconds")
        if (left := stage.totals()[waiting]) < 20:
            raise Failed(f"expected 20 messages that wait for the store, got {left}")
        held.execute("ROLLBACK")
    stage.heal()
    running.ends(None)
    desk.reviews("bulk", "run", bulk).ends(0)
    desk.reviews(*desk.retrying(by_hand)).ends(0)  # what was refused had done nothing
    for case in by_web:
        desk.calls_retry(case)
    for case in by_form:
        desk.fills_in(case)
    cases = [*by_web, *by_form, *by_hand, *in_bulk]
    late = desk.awaits(20, {case.id for case in cases})
    desk.reviews(*desk.retrying(late)).ends(0)
    desk.closes([*cases, *late])
    desk.ends_serving(server)
    stage.recovers()


@row()
def desk_month_later(stage: Stage) -> None:
    """A release whose end nobody has noted, and copies of others: a month later nothing runs twice.

    There is no intake in that month; then old rows are deleted, before anything else happens.
    """
    desk = Desk(stage)
    desk.minds_the_clock()
    desk.is_configured("results: {keep: 90d}")
    intake = stage.intake()
    crew = stage.load("--rate", "30")
    pleas, live = desk.lands(BATCH), desk.lands(BATCH, "insist")
    with copied(stage, "insist") as copies:
        desk.reviews(*desk.retrying(live)).ends(0)
        again = desk.awaits(BATCH, {case.id for case in pleas})
        desk.ends(intake)
        for case in pleas:
            desk.dies("after-release-confirm", *desk.retrying([case]))
        until(lambda: len(desk.cases("closed")) == BATCH, "the ends of jobs", why=desk.said)
        desk.ends(*crew)
        stage.fault()
        desk.passes(MONTH)
        if '"inbox":0' in stage.rabbitjobs("store", "clean", "--json"):
            raise Failed("expected rows that are too old by now")
        stage.fault()
        copies.come_again(BATCH)
    stage.intake()
    desk.reviews(*desk.retrying(live)).ends(1)
    (worker,) = stage.workers(1)
    worker.says("duplicate message dropped", BATCH)
    desk.passes(LEASE)
    desk.reviews("retry", *(case.id for case in again)).ends(0)
    stage.heal()
    desk.closes(pleas)
    desk.closes(live, releases=2)
    stage.recovers()
