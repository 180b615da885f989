"""Looking at the desk: lists, groups, one case, its trail, exports, as a person may see them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from rabbitjobs.review import export, groups, listing, trail
from rabbitjobs.review import store as rows
from rabbitjobs.review.case import AuditRow, Case, Filters, Page, Sort, Stats
from rabbitjobs.review.groups import Groups
from rabbitjobs.review.hand import require, shown_to, within_sql
from rabbitjobs.review.offers import offers
from rabbitjobs.review.options import DeskOptions, Person
from rabbitjobs.review.trail import Comment, Deeds
from rabbitjobs.store.engine import Store

ALL = Filters()


class Looks:
    """What can be seen of the cases.

    ``who`` looks: a name sees what its role and limits let it see, ``None`` is the program itself,
    which sees all. Raises ``NotAllowed`` and ``CaseNotFound``.
    """

    def __init__(self, store: Store, clock: Callable[[], float], options: DeskOptions) -> None:
        self._store = store
        self._clock = clock
        self._options = options

    @property
    def options(self) -> DeskOptions:
        """How the desk is set up."""
        return self._options

    def list(
        self,
        filters: Filters = ALL,
        *,
        limit: int = 50,
        after: str | None = None,
        sort: Sort = "newest",
        who: str | None = None,
    ) -> Page:
        """Cases that fit, in this order; ``after`` is the ``after`` of the page before."""
        also, namespace, now = self._within(who), self._store.namespace, self._clock()
        return self._store.read(
            lambda c: listing.page(
                c, namespace, filters, limit, after, sort=sort, now=now, also=also
            )
        )

    def groups(
        self,
        filters: Filters = ALL,
        *,
        limit: int = 50,
        after: str | None = None,
        who: str | None = None,
    ) -> Groups:
        """The causes of the cases that fit, the most frequent first, with counts and times."""
        also, namespace, now = self._within(who), self._store.namespace, self._clock()
        return self._store.read(
            lambda c: groups.groups(c, namespace, filters, limit, after, now=now, also=also)
        )

    def get(self, case_id: str, *, who: str | None = None) -> Case:
        """One case with everything that is known of it, and that ``who`` may see."""
        case = self._store.read(lambda c: rows.find(c, self._store.namespace, case_id))
        if who is None:
            return case
        person = self._person(who)
        require(person, "look", case)
        return shown_to(person, case, self._options)

    def offers(self, case: Case, *, who: str) -> tuple[str, ...]:
        """The actions on a case that would not be refused to this person now, by method name."""
        return offers(self._person(who), case, self._clock())

    def audit(self, case_id: str, *, who: str | None = None) -> tuple[AuditRow, ...]:
        """What was done to a case, oldest first."""
        found = self.get(case_id, who=who)
        return self._store.read(lambda c: rows.audit_of(c, found.id))

    def deeds(
        self,
        *,
        limit: int = 50,
        after: int | None = None,
        doer: str | None = None,
        action: str | None = None,
        who: str | None = None,
    ) -> Deeds:
        """What was done to all cases, newest first; by one ``doer``, of one ``action`` if named."""
        also, namespace = self._within(who), self._store.namespace
        return self._store.read(
            lambda c: trail.deeds(c, namespace, limit, after, doer=doer, action=action, also=also)
        )

    def pulse(self) -> str:
        """A mark that is another one after any change of the desk; cheap, for who looks often."""
        return self._store.read(lambda c: trail.pulse(c, self._store.namespace))

    def verify(self, case_id: str, *, who: str | None = None) -> str | None:
        """What is wrong with the audit of a case, ``None`` if it is as it was written."""
        found = self.get(case_id, who=who)
        return self._store.read(lambda c: trail.fault(c, self._store.namespace, found.id))

    def comments(self, case_id: str, *, who: str | None = None) -> tuple[Comment, ...]:
        """What people wrote of a case, and of the cases that it came from; oldest first."""
        found = self.get(case_id, who=who)
        return self._store.read(lambda c: trail.comments(c, self._store.namespace, found))

    def stats(self, *, who: str | None = None) -> Stats:
        """Counts by state, and of open cases by queue, error type and age."""
        also, now = self._within(who), self._clock()
        return self._store.read(lambda c: listing.stats(c, self._store.namespace, now, also))

    def export(
        self, filters: Filters = ALL, *, form: export.Form = "jsonl", who: str | None = None
    ) -> Iterator[str]:
        """All cases that fit, oldest first, line by line: JSON lines with audit, or CSV.

        It is read page by page: a case that comes or changes meanwhile may be in it or not.
        """
        person = self._person(who) if who is not None else None
        self._within(who)
        return export.lines(self, filters, form, person)

    # --- inside ----------------------------------------------------------------------------

    def _person(self, who: str) -> Person:
        return self._options.person(who)

    def _within(self, who: str | None) -> tuple[Any, ...]:
        if who is None:
            return ()
        person = self._person(who)
        require(person, "look")
        return within_sql(person)
