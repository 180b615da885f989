"""The auditor: reads what is recorded and what is held, and adds it up.

It reads the store's tables with plain SQL and not through rabbitjobs, on purpose: an auditor does
not ask the audited.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from examples.shop import fulfilment_server, mail_server
from examples.shop.ledger import RESTING, Ledger, Left, Outside, balance, outside
from examples.shop.orders import KINDS, SENT_BY_US, job_id

DONE = "succeeded"


@dataclass(frozen=True, slots=True)
class World:
    """The traces that the shop's jobs leave outside: one order number for each.

    ``ignored`` are the records of ignored jobs that the broker keeps for a while.
    """

    mails: list[int]
    invoices: list[int]
    parcels: list[int]
    journal: list[int]
    ignored: list[int]


def look_around(folder: Path, ignored: Iterable[str]) -> World:
    """Read the spools of the two servers and the folder of invoices; ``ignored`` are job ids."""
    return World(
        mails=mail_server.received(folder),
        invoices=[int(file.stem) for file in (folder / "invoices").glob("[0-9]*.png")],
        parcels=fulfilment_server.shipped(folder),
        journal=read_journal(folder / "journal.txt"),
        ignored=[_number(one) for one in ignored],
    )


def read_journal(file: Path) -> list[int]:
    """The order numbers of the journal's lines, from top to bottom."""
    lines = file.read_text().splitlines() if file.exists() else []
    return [int(line.partition(" ")[0]) for line in lines]


def read_states(store: Path) -> dict[str, str]:
    """The state of every job that the store knows, by id.

    A job that a person resolved has succeeded for whoever waits for it, but it never ran to its
    end: we count it apart.
    """
    states = dict(_query(store, "SELECT job_id, status FROM rj_jobs"))
    by_hand = _query(store, "SELECT job_id, state FROM rj_cases WHERE state = 'resolved'")
    return states | dict(by_hand)


def open_cases(store: Path) -> int:
    """How many cases wait on the review desk."""
    return int(_query(store, "SELECT 'open', count(*) FROM rj_cases WHERE state = 'open'")[0][1])


def _query(store: Path, text: str) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=10)) as connection:
        return connection.execute(text).fetchall()


def sent_jobs(orders: Iterable[int], states: Mapping[str, str]) -> dict[str, list[str]]:
    """Every job that was sent, by kind: some by us, the rest by each order that was placed."""
    orders = list(orders)
    placed = [number for number in orders if states.get(job_id(number, "order")) == DONE]
    return {
        kind: [job_id(number, kind) for number in (orders if kind in SENT_BY_US else placed)]
        for kind in KINDS
    }


def at_rest(sent: Mapping[str, Iterable[str]], states: Mapping[str, str]) -> bool:
    """Whether every sent job rests in a state in which nothing more happens by itself."""
    return all(states.get(one) in RESTING for ids in sent.values() for one in ids)


def count(states: Mapping[str, str]) -> dict[str, Counter[str]]:
    """How many jobs of each kind are in each state, for the progress display."""
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    for one, state in states.items():
        counts[one.partition(".")[2] or "order"][state] += 1
    return counts


def reckon(
    orders: Collection[int],
    states: Mapping[str, str],
    world: World,
    held: Mapping[str, int],
) -> Ledger:
    """Add everything up. ``held`` are the broker's exact counts by queue.

    Only the window of ignored jobs may still hold messages: those that we have looked at.
    """
    sent = sent_jobs(orders, states)
    known = {kind: {one: s for one, s in states.items() if _kind(one) == kind} for kind in KINDS}
    return Ledger(
        jobs={kind: balance(sent[kind], known[kind]) for kind in KINDS},
        world=[
            _compare("lines of the journal", "note", states, world.journal, ordered=True),
            _compare("mails received", "mail", states, world.mails),
            _compare("invoices on disk", "invoice", states, world.invoices),
            _compare("parcels booked", "parcel", states, world.parcels),
            _compare("records of ignored", "mail", states, world.ignored, done="ignored"),
        ],
        broker=[
            Left(queue, len(world.ignored) if queue.endswith(".ignored") else 0, messages)
            for queue, messages in sorted(held.items())
        ],
    )


def _compare(
    what: str,
    kind: str,
    states: Mapping[str, str],
    seen: list[int],
    *,
    done: str = DONE,
    ordered: bool = False,
) -> Outside:
    of_kind = {_number(one): state for one, state in states.items() if _kind(one) == kind}
    numbers = [number for number, state in of_kind.items() if state == done]
    on_desk = [number for number, state in of_kind.items() if state == "in-review"]
    return outside(what, numbers, seen, on_desk, ordered=ordered)


def _kind(one: str) -> str:
    return one.partition(".")[2] or "order"


def _number(one: str) -> int:
    return int(one.partition(".")[0].removeprefix("order-"))
