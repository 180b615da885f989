"""The audit of all cases, newest first, and the mark that tells that anything changed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rabbitjobs.clock import uuid7
from rabbitjobs.errors import ActionRefused, NotAllowed
from rabbitjobs.review.case import Case, Filters
from rabbitjobs.review.desk import Desk
from rabbitjobs.review.intake import FailedMessage, take_in
from rabbitjobs.review.options import DeskOptions, Person
from rabbitjobs.store.engine import Store
from tests.backends.desk_broker import Broker

Failed = Callable[..., FailedMessage]


def test_the_deeds_of_all_cases_go_on_by_key(
    store: Store, desk: Desk, case: Case, failed: Failed
) -> None:
    """Each once, also when others come in between."""
    other = take_in(store, failed(uuid7(), 1))
    desk.claim(case.id, who="ann", version=1)
    first = desk.deeds(limit=2)
    assert [(row.action, row.case_id) for row in first.deeds] == [
        ("claim", case.id),
        ("open", other),
    ]
    desk.comment(other, "later", who="bob", version=1)
    rest = desk.deeds(limit=2, after=first.after)
    assert [(row.action, row.case_id) for row in rest.deeds] == [("open", case.id)]
    assert rest.after is None
    assert rest.deeds[0].queue == case.queue
    with pytest.raises(ActionRefused):
        desk.deeds(limit=0)


def test_the_deeds_of_one_person_or_of_one_kind(desk: Desk, case: Case) -> None:
    """Both together as well."""
    desk.comment(case.id, "one", who="ann", version=1)
    desk.comment(case.id, "two", who="bob", version=2)
    desk.claim(case.id, who="bob", version=3)
    assert [row.detail for row in desk.deeds(doer="bob", action="comment").deeds] == ["two"]
    assert len(desk.deeds(doer="bob").deeds) == 2
    assert desk.deeds(doer="\x00nobody").deeds == ()


def test_deeds_are_those_that_a_person_may_see(
    store: Store, broker: Broker, failed: Failed
) -> None:
    """Limits by queue hold, another namespace is another desk, and who may not look sees none."""
    people = {"cat": Person(name="cat", role="viewer", queues=("images",))}
    desk = Desk(store, broker, lambda _j, _b: None, options=DeskOptions(people=people))
    take_in(store, failed(uuid7(), 1))
    assert len(desk.deeds().deeds) == 1
    assert desk.deeds(who="cat").deeds == ()
    with pytest.raises(NotAllowed):
        desk.deeds(who="eve")


def test_every_change_changes_the_mark(
    store: Store, desk: Desk, case: Case, failed: Failed
) -> None:
    """A new case, a deed, a bulk action that moves; looking does not."""
    marks = [desk.pulse()]
    assert desk.pulse() == marks[0]
    take_in(store, failed(uuid7(), 1))
    marks.append(desk.pulse())
    desk.claim(case.id, who="ann", version=1)
    marks.append(desk.pulse())
    made = desk.bulk.freeze("tag", Filters(), who="ann")
    marks.append(desk.pulse())
    desk.bulk.stop(made.id, "no", who="ann")
    marks.append(desk.pulse())
    assert len(set(marks)) == 5
