"""One step of a bulk action: one case, one transaction, its outcome in it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import Connection

from rabbitjobs import failpoints
from rabbitjobs.errors import DeskError, RabbitJobsError
from rabbitjobs.review import bulk_rows, changes, ending
from rabbitjobs.review.bulk_case import Bulk, BulkState
from rabbitjobs.review.hand import Hand, taken
from rabbitjobs.review.sending import Sending
from rabbitjobs.store.engine import Store
from rabbitjobs.store.outbox import OutboxRow

# Failures are counted over all cases of the bulk action: not before each one.
COUNTED_EACH = 10


class _Step(NamedTuple):
    """What one transaction did; what to publish for it, and at which place."""

    bulk: Bulk
    row: OutboxRow | None = None
    place: int = 0


class Steps:
    """Takes one step after the other; any number of runners may, in any number of processes."""

    def __init__(self, store: Store, sending: Sending, hand: Callable[[str], Hand]) -> None:
        self._store = store
        self._sending = sending
        self._hand = hand

    def take(self, bulk_id: str) -> Bulk:
        """Do the next case, if nothing holds it up; returns the bulk action as it is then."""
        step = self._store.run(lambda c: self._one(c, bulk_id))
        if step.row is not None:
            self._publish(step)
        if step.place:
            failpoints.reach("after-bulk-item")
        return step.bulk

    def _one(self, connection: Connection, bulk_id: str) -> _Step:
        found = bulk_rows.find(connection, self._store.namespace, bulk_id, lock=True)
        hand = self._hand(found.who)
        if found.state not in ("running", "canary"):
            return _Step(found)
        upcoming = bulk_rows.next_waiting(connection, found.id)
        if upcoming is None:
            return _Step(bulk_rows.change(connection, found, hand.now, state="done", why=""))
        place, case_id, version = upcoming
        held_up = self._held_up(connection, found, hand, place)
        if held_up is not None:
            return held_up
        row = self._act_and_mark(connection, found, hand, place, case_id, version)
        following = hand.now + (1 / found.terms.rate if found.terms.rate else 0.0)
        changed = bulk_rows.change(
            connection, found, hand.now, state="running", why="", next_at=following
        )
        return _Step(changed, row=row, place=place)

    def _held_up(self, connection: Connection, found: Bulk, hand: Hand, place: int) -> _Step | None:
        """What keeps the next case from being begun: failures, the canary, the rate."""
        why, state = self._doubt(connection, found, place)
        if why:
            return _Step(bulk_rows.change(connection, found, hand.now, state=state, why=why))
        return _Step(found) if found.next_at > hand.now else None

    def _doubt(self, connection: Connection, found: Bulk, place: int) -> tuple[str, BulkState]:
        """Why the next case is not begun, and the state for that; no reason: it is."""
        terms = found.terms
        if terms.canary and place > terms.canary:
            fates = bulk_rows.canary_fates(connection, found.id, terms.canary)
            bad, under_way = len(fates) - fates.count("succeeded"), fates.count("under way")
            if bad - under_way:
                return f"{bad - under_way} of the canary did not succeed", "stopped"
            if under_way:
                return f"{under_way} of the canary have not ended", "canary"
        if terms.failures is not None and place % COUNTED_EACH == 1:
            failed = bulk_rows.failures(connection, found.id)
            if failed > terms.failures:
                return f"{failed} have failed", "stopped"
        return "", "running"

    def _act_and_mark(
        self, connection: Connection, found: Bulk, hand: Hand, place: int, case_id: str,
        version: int,
    ) -> OutboxRow | None:  # fmt: skip
        try:
            # What a refused action had written goes, its outcome stays.
            with connection.begin_nested():
                row = self._act(connection, found, hand, case_id, version)
        except DeskError as error:
            bulk_rows.mark(
                connection, found.id, place, state="refused", outcome=str(error), now=hand.now
            )
            return None
        outcome = f"sent, attempt {row.envelope.attempt}" if row else "done"
        bulk_rows.mark(
            connection, found.id, place, state="done", outcome=outcome, now=hand.now,
            release_id=row.release_id if row else None,
        )  # fmt: skip
        return row

    def _act(
        self, connection: Connection, found: Bulk, hand: Hand, case_id: str, version: int
    ) -> OutboxRow | None:
        terms, action = found.terms, found.action
        if action == "retry" or action == "approve":
            return self._sending.again(connection, hand, case_id, version, terms.queue, action)
        if action == "discard" or action == "reject":
            case = taken(connection, hand, case_id, version, action)
            ending.discard(connection, hand, case, terms.reason, action)
        elif action == "snooze":
            wait = timedelta(seconds=terms.seconds)
            changes.snooze(connection, hand, case_id, version, wait, terms.reason)
        else:
            changes.tag(connection, hand, case_id, version, terms.tags)
        return None

    def _publish(self, step: _Step) -> None:
        assert step.row is not None
        try:
            self._sending.send(step.row)
        except RabbitJobsError as error:
            why, now = str(error), self._hand(step.bulk.who).now
            self._store.run(
                lambda c: bulk_rows.mark(
                    c, step.bulk.id, step.place, state="failed", outcome=why, now=now
                )
            )
