"""What people do around a case: comments, tags, snoozes, severity, releases taken back."""

from __future__ import annotations

from datetime import timedelta

import msgspec
from sqlalchemy import Connection

from rabbitjobs.clock import format_duration
from rabbitjobs.errors import ActionRefused
from rabbitjobs.review import store as rows
from rabbitjobs.review.case import Case
from rabbitjobs.review.hand import Hand, refuse_if_held, refuse_unless, seen, taken
from rabbitjobs.review.moment import moment
from rabbitjobs.store.outbox import withdraw_release

LONGEST_SNOOZE = timedelta(days=366)


def reopen(connection: Connection, hand: Hand, case_id: str, version: int, reason: str) -> Case:
    """Take a release back; what a relay has in hand may still be published."""
    case = taken(connection, hand, case_id, version, "reopen")
    withdraw_release(connection, str(case.release_id))
    opened = rows.change(connection, case, state="open", updated=hand.now)
    hand.note(connection, opened, "reopen", reason)
    return opened


def comment(connection: Connection, hand: Hand, case_id: str, version: int, text: str) -> Case:
    """A comment is an audit row, and so as lasting as one."""
    case = seen(connection, hand, case_id, version, "comment")
    changed = rows.change(connection, case, updated=hand.now)
    hand.note(connection, changed, "comment", text)
    return changed


def tag(
    connection: Connection, hand: Hand, case_id: str, version: int, tags: tuple[str, ...]
) -> Case:
    """Set the tags."""
    case = seen(connection, hand, case_id, version, "tag")
    encoded = msgspec.json.encode(sorted(set(tags))).decode()
    changed = rows.change(connection, case, tags=encoded, updated=hand.now)
    hand.note(connection, changed, "tag", ", ".join(tags))
    return changed


def snooze(
    connection: Connection, hand: Hand, case_id: str, version: int, wait: timedelta, reason: str
) -> Case:
    """Put an open case off; whoever held it holds it no more."""
    if not timedelta(0) < wait <= LONGEST_SNOOZE:
        raise ActionRefused(
            f"expected to snooze for up to {format_duration(LONGEST_SNOOZE)}, got {wait}"
        )
    case = taken(connection, hand, case_id, version, "snooze")
    until = hand.now + wait.total_seconds()
    changed = rows.change(connection, case, snoozed_until=until, lease_until=None, updated=hand.now)
    hand.note(connection, changed, "snooze", f"until {moment(until)}: {reason}".rstrip(": "))
    return changed


def wake(connection: Connection, hand: Hand, case_id: str, version: int) -> Case:
    """End a snooze."""
    case = taken(connection, hand, case_id, version, "snooze")
    if not case.asleep(hand.now):
        raise ActionRefused(f"expected a snoozed case, got case {case.id}, which is awake")
    changed = rows.change(connection, case, snoozed_until=None, updated=hand.now)
    hand.note(connection, changed, "wake", "")
    return changed


def escalate(connection: Connection, hand: Hand, case_id: str, version: int, reason: str) -> Case:
    """Raise the severity by one."""
    case = seen(connection, hand, case_id, version, "escalate")
    refuse_unless(case, "claim")
    refuse_if_held(case, hand)
    changed = rows.change(connection, case, severity=case.severity + 1, updated=hand.now)
    hand.note(connection, changed, "escalate", f"to {changed.severity}: {reason}")
    return changed
