"""Holding a case: for a while, prolonged by a heartbeat, taken from somebody with a reason."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Connection, update

from rabbitjobs.clock import format_duration
from rabbitjobs.errors import ActionRefused
from rabbitjobs.review import store as rows
from rabbitjobs.review.case import Case
from rabbitjobs.review.hand import Hand, refuse_if_held, refuse_unless, require, seen
from rabbitjobs.store.schema import cases


def claim(connection: Connection, hand: Hand, case_id: str, version: int) -> Case:
    """Hold an open case until the lease ends; refused while somebody else holds it."""
    case = seen(connection, hand, case_id, version, "claim")
    refuse_unless(case, "claim")
    refuse_if_held(case, hand)
    return _hold(connection, hand, case, "claim", f"for {format_duration(_whole(hand))}")


def steal(connection: Connection, hand: Hand, case_id: str, version: int, reason: str) -> Case:
    """Take a case from who holds it: his next write is refused, and tells him who and why."""
    case = seen(connection, hand, case_id, version, "claim")
    refuse_unless(case, "claim")
    holder = case.held_by(hand.now)
    if holder is None or holder == hand.who:
        raise ActionRefused(
            f"expected a case that somebody else holds, got case {case.id}, which is "
            f"{'yours' if holder else 'free'}; claim it",
            queue=case.queue, job=case.job, job_id=case.job_id,
        )  # fmt: skip
    return _hold(connection, hand, case, "steal", f"from {holder}: {reason}")


def heartbeat(connection: Connection, hand: Hand, case_id: str) -> Case:
    """Prolong one's own lease. It is no change of the case: version and audit stay.

    Refused when the case is another's by now, or nobody's: what happened stands in the text.
    """
    case = rows.find(connection, hand.namespace, case_id)
    require(hand.options.person(hand.who), "claim", case)
    prolonged = connection.execute(
        update(cases)
        .where(
            cases.c.id == case.id,
            cases.c.state == "open",
            cases.c.owner == hand.who,
            cases.c.lease_until.is_not(None),
        )
        .values(lease_until=hand.now + hand.options.lease.total_seconds())
    )
    if not prolonged.rowcount:
        newest = rows.audit_of(connection, case.id)[-1]
        raise ActionRefused(
            f"expected case {case.id} held by {hand.who}, got one that is not: {newest.action} by "
            f"{newest.who} ({newest.detail}); look at it again",
            queue=case.queue, job=case.job, job_id=case.job_id,
        )  # fmt: skip
    return rows.find(connection, hand.namespace, case.id)


def let_go(connection: Connection, hand: Hand, case_id: str, version: int) -> Case:
    """Give a claim back before its lease ends."""
    case = seen(connection, hand, case_id, version, "claim")
    if case.held_by(hand.now) != hand.who:
        raise ActionRefused(
            f"expected a case that {hand.who} holds, got case {case.id}, held by "
            f"{case.held_by(hand.now) or 'nobody'}; there is nothing to let go",
            queue=case.queue, job=case.job, job_id=case.job_id,
        )  # fmt: skip
    freed = rows.change(connection, case, owner=None, lease_until=None, updated=hand.now)
    hand.note(connection, freed, "let go", "")
    return freed


def _hold(connection: Connection, hand: Hand, case: Case, action: str, detail: str) -> Case:
    until = hand.now + hand.options.lease.total_seconds()
    held = rows.change(connection, case, owner=hand.who, lease_until=until, updated=hand.now)
    hand.note(connection, held, action, detail)
    return held


def _whole(hand: Hand) -> timedelta:
    return timedelta(seconds=int(hand.options.lease.total_seconds()))
