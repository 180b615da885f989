"""Bulk actions: one action for many cases, each in a transaction with its outcome.

Whoever runs it may die at any point: what a case's transaction has committed is done once, and the
next runner goes on behind it. A release that was promised and not published is its relay's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection

from rabbitjobs.errors import ActionRefused, DeskError, NotAllowed
from rabbitjobs.review import bulk_rows
from rabbitjobs.review import store as rows
from rabbitjobs.review.bounds import check_page, check_tags, check_text
from rabbitjobs.review.bulk_case import (
    SENDING,
    Bulk,
    BulkAction,
    BulkItem,
    BulkItems,
    BulkState,
    Fate,
    Terms,
)
from rabbitjobs.review.bulk_step import Steps
from rabbitjobs.review.case import Filters
from rabbitjobs.review.hand import Hand, require, taken, within_sql
from rabbitjobs.review.listing import conditions
from rabbitjobs.review.sending import Sending
from rabbitjobs.store.engine import Store
from rabbitjobs.store.schema import cases
from rabbitjobs.store.text import storable

CANARY_PAUSE_SECONDS = 0.5
PROGRESS_SECONDS = 1.0
PLAIN = Terms()
_BY_HAND = "stopped by"
# More ids than one statement takes.
_MOST_IDS = 10_000


class Bulks:
    """The bulk actions of a desk: frozen first, then tried dry if one likes, then run."""

    def __init__(self, store: Store, sending: Sending, hand: Callable[[str], Hand]) -> None:
        self._store = store
        self._hand = hand
        self._steps = Steps(store, sending, hand)

    def freeze(
        self,
        action: BulkAction,
        chosen: Filters | Sequence[str],
        *,
        who: str,
        terms: Terms = PLAIN,
    ) -> Bulk:
        """Fix which cases it is for: those that fit the filters now, or those with these ids.

        Nothing is done yet. Filters without a state mean open cases; what ``who`` may not act on
        is left out. A case that changes before its turn is refused then. At most 100,000 cases.
        """
        hand = self._hand(who)
        person = hand.options.person(who)
        require(person, action)
        _check(action, terms)

        def act(connection: Connection) -> Bulk:
            where = (*_conditions(connection, chosen, hand), *within_sql(person))
            made = bulk_rows.freeze(connection, hand.namespace, who, action, terms, where, hand.now)
            return self._counted(connection, made)

        return self._store.run(act)

    def get(self, bulk_id: str, *, who: str | None = None) -> Bulk:
        """How far a bulk action is."""
        self._may_look(who)
        return self._store.read(lambda c: self._counted(c, bulk_id))

    def list(self, *, limit: int = 50, who: str | None = None) -> tuple[Bulk, ...]:
        """The last bulk actions, newest first, without counts."""
        check_page(limit)
        self._may_look(who)
        return self._store.read(lambda c: bulk_rows.newest(c, self._store.namespace, limit))

    def outcomes(
        self,
        bulk_id: str,
        *,
        after: int = 0,
        limit: int = 100,
        fate: Fate | None = None,
        who: str | None = None,
    ) -> BulkItems:
        """What became of each case, in order."""
        check_page(limit)
        self._may_look(who)

        def look(connection: Connection) -> tuple[BulkItem, ...]:
            found = bulk_rows.find(connection, self._store.namespace, bulk_id)
            return bulk_rows.items(connection, found.id, after, limit + 1, fate)

        items = self._store.read(look)
        more = len(items) > limit
        return BulkItems(items=items[:limit], after=items[limit - 1].place if more else None)

    def dry_run(
        self, bulk_id: str, *, after: int = 0, limit: int = 100, who: str | None = None
    ) -> BulkItems:
        """What ``run`` would do with each case if it came to it now; nothing is changed."""
        check_page(limit)
        self._may_look(who)

        def look(connection: Connection) -> BulkItems:
            found = bulk_rows.find(connection, self._store.namespace, bulk_id)
            hand = self._hand(found.who)
            waiting = bulk_rows.items(connection, found.id, after, limit + 1, "waiting")
            tried = tuple(self._tried(connection, found, hand, item) for item in waiting[:limit])
            return BulkItems(items=tried, after=tried[-1].place if len(waiting) > limit else None)

        return self._store.read(look)

    def run(
        self,
        bulk_id: str,
        *,
        who: str,
        pause: Callable[[float], None] = time.sleep,
        progress: Callable[[Bulk], None] = lambda _bulk: None,
    ) -> Bulk:
        """Do it, or go on with it, until all is done or it is stopped; may take long.

        ``progress`` hears about once a second how far it is. Any number of processes may run the
        same one: each case is taken by one of them. Raises ``StoreUnavailable``: run it again;
        ``ActionRefused`` for one that was stopped: ``resume`` it first.
        """
        self.begin(bulk_id, who=who)
        told = 0.0
        while True:
            step = self.step(bulk_id)
            if step.state in ("done", "stopped"):
                found = self.get(bulk_id)
                progress(found)
                return found
            if time.monotonic() - told >= PROGRESS_SECONDS:
                told = time.monotonic()
                progress(self.get(bulk_id))
            wait = self._wait(step)
            if wait > 0:
                pause(wait)

    def begin(self, bulk_id: str, *, who: str) -> Bulk:
        """Let it run, doing no case of it; raises what ``run`` would raise before its first."""
        found = self._turn(bulk_id, who, "running")
        if found.state == "stopped":
            raise ActionRefused(
                f"expected a bulk action to go on with, got one that is stopped: {found.why}; look "
                "at its outcomes, and resume it"
            )
        return found

    def step(self, bulk_id: str) -> Bulk:
        """Do at most one case of it; for those who run it beside other things."""
        return self._steps.take(bulk_id)

    def stop(self, bulk_id: str, reason: str, *, who: str) -> Bulk:
        """Begin no further case of it."""
        check_text(reason, "a reason")
        return self._turn(bulk_id, who, "stopped", f"{_BY_HAND} {who}: {reason}")

    def resume(self, bulk_id: str, *, who: str) -> Bulk:
        """Let one that was stopped go on. If failures stopped it, they are forgiven by that: those
        so far count no more, nor does the canary."""
        return self._turn(bulk_id, who, "running", again=True)

    # --- inside ----------------------------------------------------------------------------

    def _tried(self, connection: Connection, found: Bulk, hand: Hand, item: BulkItem) -> BulkItem:
        try:
            case = rows.find(connection, hand.namespace, item.case_id)
            version = bulk_rows.version_of(connection, found.id, item.place)
            action: Any = "claim" if found.action == "tag" else found.action
            taken(connection, hand, case.id, version, action)
        except DeskError as error:
            return msgspec.structs.replace(item, fate="refused", outcome=str(error))
        return msgspec.structs.replace(item, outcome=f"would be: {found.action}")

    def _turn(
        self, bulk_id: str, who: str, state: BulkState, why: str = "", *, again: bool = False
    ) -> Bulk:
        hand = self._hand(who)
        person = hand.options.person(who)

        def act(connection: Connection) -> Bulk:
            found = bulk_rows.find(connection, hand.namespace, bulk_id, lock=True)
            require(person, found.action)
            if found.who != who and person.role != "admin":
                raise NotAllowed(
                    f"expected {found.who}, who made the bulk action, or an admin, got {who}"
                )
            if found.state in ("done", state) or (state == "running" and found.state == "canary"):
                return found
            if found.state == "stopped" and not again:
                return found
            if found.state == "stopped" and not found.why.startswith(_BY_HAND):
                found = bulk_rows.forgive(connection, found)
            return bulk_rows.change(connection, found, hand.now, state=state, why=why)

        return self._store.run(act)

    def _counted(self, connection: Connection, bulk_id: str) -> Bulk:
        found = bulk_rows.find(connection, self._store.namespace, bulk_id)
        return bulk_rows.counted(connection, found)

    def _wait(self, found: Bulk) -> float:
        if found.state == "canary":
            return CANARY_PAUSE_SECONDS
        return min(max(found.next_at - self._hand(found.who).now, 0.0), 1.0)

    def _may_look(self, who: str | None) -> None:
        if who is not None:
            require(self._hand(who).options.person(who), "look")


def _conditions(
    connection: Connection, chosen: Filters | Sequence[str], hand: Hand
) -> tuple[ColumnElement[bool], ...]:
    if isinstance(chosen, Filters):
        filters = msgspec.structs.replace(chosen, state=chosen.state or "open")
        return tuple(conditions(connection, hand.namespace, filters, hand.now))
    ids = [storable(one) for one in chosen]
    if not 0 < len(ids) <= _MOST_IDS:
        raise ActionRefused(f"expected 1 to {_MOST_IDS} ids of cases, got {len(ids)}")
    return (cases.c.id.in_(ids),)


def _check(action: BulkAction, terms: Terms) -> None:
    """Raise ``ActionRefused`` for terms that make no sense, before anything is frozen."""
    check_text(terms.reason, "a reason", needed=action in ("discard", "reject"))
    check_tags(terms.tags)
    faults = []
    if action == "snooze" and terms.seconds <= 0:
        faults.append("a time to snooze")
    if action not in SENDING and (terms.canary or terms.failures is not None or terms.queue):
        faults.append("no canary, failures or queue, because nothing is sent")
    if terms.canary < 0 or terms.rate < 0 or (terms.failures or 0) < 0:
        faults.append("no number below 0")
    if faults:
        raise ActionRefused(f"expected {' and '.join(faults)} for a bulk {action}")
