"""Deadlines: what the desk does by itself with a case that nobody has decided in time."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import msgspec
from sqlalchemy import Connection, func, select, update

from rabbitjobs import failpoints
from rabbitjobs.errors import CaseChanged, DeskError, RabbitJobsError, StoreError
from rabbitjobs.policy.decision import Failure
from rabbitjobs.review import ending, words
from rabbitjobs.review import store as rows
from rabbitjobs.review.case import Case
from rabbitjobs.review.fingerprint import fingerprint
from rabbitjobs.review.hand import Hand, taken
from rabbitjobs.review.sending import Sending
from rabbitjobs.store.engine import Store
from rabbitjobs.store.outbox import OutboxRow
from rabbitjobs.store.schema import cases

WHO = "deadline"
REASON = "nobody had decided it by its deadline"


class Kept(NamedTuple):
    """How many deadlines were kept, and how many cases of older releases were mended."""

    deadlines: int
    mended: int


def keep_up(store: Store, sending: Sending, hand: Hand, limit: int) -> Kept:
    """Act on each case whose deadline has passed, each in a transaction of its own.

    Several processes may do it at once: the version lets one of them act.
    """
    hand = msgspec.structs.replace(hand, itself=True)
    late = store.read(lambda c: _late(c, hand, limit))
    for case_id, version in late:
        _keep(store, sending, hand, case_id, version)
        failpoints.reach("after-deadline")
    mended = store.run(lambda c: _mend(c, hand.namespace, limit))
    return Kept(deadlines=len(late), mended=mended)


def _late(connection: Connection, hand: Hand, limit: int) -> list[tuple[str, int]]:
    """Open cases past their deadline that nobody holds and that do not sleep."""
    query = (
        select(cases.c.id, cases.c.version)
        .where(
            cases.c.namespace == hand.namespace,
            cases.c.state == "open",
            cases.c.deadline <= hand.now,
            func.coalesce(cases.c.lease_until, 0.0) <= hand.now,
            func.coalesce(cases.c.snoozed_until, 0.0) <= hand.now,
        )
        .order_by(cases.c.deadline, cases.c.id)
        .limit(limit)
    )
    return [(row.id, row.version) for row in connection.execute(query)]


def _keep(store: Store, sending: Sending, hand: Hand, case_id: str, version: int) -> None:
    try:
        row = store.run(lambda c: _act(c, sending, hand, case_id, version))
    except CaseChanged:
        return  # a person was quicker, or another process
    except DeskError as error:
        why = str(error)
        store.run(lambda c: _escalate_instead(c, hand, case_id, version, why))
        return
    if row is not None:
        try:
            sending.send(row)
        except StoreError:
            raise
        except RabbitJobsError:
            return  # the broker refused it for good: the case is open again, and says so


def _act(
    connection: Connection, sending: Sending, hand: Hand, case_id: str, version: int
) -> OutboxRow | None:
    case = rows.find(connection, hand.namespace, case_id)
    do = _fit(case)
    if do == "retry":
        return sending.again(connection, hand, case_id, version)
    if do == "discard":
        action: Literal["reject", "discard"] = "reject" if "reject" in case.actions else "discard"
        case = taken(connection, hand, case_id, version, action)
        ending.discard(connection, hand, case, REASON, action)
        return None
    case = taken(connection, hand, case_id, version, "claim")
    _escalate(connection, hand, case, REASON)
    return None


def _fit(case: Case) -> str | None:
    """What is to be done; a retry only once in a row, and never of what a person must approve."""
    if case.deadline_do != "retry":
        return case.deadline_do
    return "retry" if "retry" in case.actions and case.owner != WHO else "escalate"


def _escalate_instead(
    connection: Connection, hand: Hand, case_id: str, version: int, why: str
) -> None:
    """What could not be done at the deadline is a person's again, and says so."""
    case = rows.find(connection, hand.namespace, case_id)
    if case.version == version and case.state == "open":
        _escalate(connection, hand, case, f"{case.deadline_do} at the deadline failed: {why}")


def _escalate(connection: Connection, hand: Hand, case: Case, why: str) -> None:
    changed = rows.change(
        connection, case, severity=case.severity + 1, deadline=None, updated=hand.now
    )
    hand.note(connection, changed, "escalate", f"to {changed.severity}: {why}")


def _mend(connection: Connection, namespace: str, limit: int) -> int:
    """Give cases from before fingerprints theirs, and enter their words for the search."""
    old = select(
        cases.c.id, cases.c.job, cases.c.kind, cases.c.error_type, cases.c.error,
        cases.c.traceback, cases.c.search,
    ).where(cases.c.namespace == namespace, cases.c.fingerprint == "").limit(limit)  # fmt: skip
    found = connection.execute(old).all()
    for row in found:
        mark = fingerprint(row.job, _failure(row))
        connection.execute(update(cases).where(cases.c.id == row.id).values(fingerprint=mark))
        words.put(connection, namespace, row.id, row.search, anew=True)
    return len(found)


def _failure(row: Any) -> Failure:
    return Failure(
        kind=row.kind, error_type=row.error_type, error=row.error, traceback=row.traceback
    )
