"""Groups, searches and pages: causes with counts and times, by key and with indexes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from sqlalchemy import Connection, Executable, text, update

from rabbitjobs.clock import now, uuid7
from rabbitjobs.errors import ActionRefused
from rabbitjobs.policy.decision import Failure
from rabbitjobs.review.case import Filters, Sort
from rabbitjobs.review.desk import Desk
from rabbitjobs.review.fingerprint import fingerprint
from rabbitjobs.review.intake import FailedMessage, take_in
from rabbitjobs.store.engine import Store
from rabbitjobs.store.schema import case_words, cases

Failed = Callable[..., FailedMessage]


def failure(error: str, where: str = "send") -> Failure:
    """A failure in a function."""
    trace = f'Traceback:\n  File "/srv/{uuid7()}/shop/mail.py", line 7, in {where}\n    f()\n'
    return Failure(kind="error", error_type="shop.Late", error=error, traceback=trace)


def _execute(statement: Executable, connection: Connection) -> None:
    connection.execute(statement)


def test_cases_of_one_cause_are_one_group(store: Store, desk: Desk, failed: Failed) -> None:
    """With how many there are, how many wait, and when it was first and last seen."""
    began = now()
    first, *_ = [take_in(store, failed(failure=failure(f"after {n} s"))) for n in range(3)]
    take_in(store, failed(failure=failure("after 1 s", "read")))
    desk.discard(first, "no", who="ann", version=1)
    page = desk.groups()
    largest, other = page.groups
    assert (largest.total, largest.open, other.total) == (3, 2, 1)
    assert (largest.job, largest.error_type) == ("shop.mail", "shop.Late")
    assert began <= largest.first_seen <= largest.last_seen <= now()
    assert page.after is None
    assert len(desk.list(Filters(fingerprint=largest.fingerprint)).cases) == 3


def test_a_failure_that_comes_back_is_seen_again(store: Store, desk: Desk, failed: Failed) -> None:
    """The group's last time moves, the case counts its failures."""
    job = uuid7()
    case_id = take_in(store, failed(job, 1))
    before = desk.groups().groups[0]
    take_in(store, failed(job, 2))
    after = desk.groups().groups[0]
    assert after.last_seen > before.last_seen
    assert (after.first_seen, desk.get(case_id).failures) == (before.first_seen, 2)


def test_groups_are_paged_largest_first(store: Store, desk: Desk, failed: Failed) -> None:
    """No group twice, none missed; a place that no page gave is refused."""
    for size in range(1, 5):
        for _ in range(size):
            take_in(store, failed(failure=failure("e", f"f{size}")))
    found, after = [], None
    while True:
        page = desk.groups(limit=1, after=after)
        found += [group.total for group in page.groups]
        after = page.after
        if after is None:
            break
    assert found == [4, 3, 2, 1]
    with pytest.raises(ActionRefused):
        desk.groups(after="x_y")


def test_groups_take_filters(store: Store, desk: Desk, failed: Failed) -> None:
    """As lists do."""
    take_in(store, failed(queue="images"))
    take_in(store, failed())
    assert sum(group.total for group in desk.groups(Filters(queue="images")).groups) == 1


@pytest.mark.parametrize(
    ("sort", "order"),
    [("newest", [2, 1, 0]), ("oldest", [0, 1, 2]), ("updated", [0, 2, 1]), ("deadline", [1, 0])],
)
def test_lists_are_sorted_and_paged(
    store: Store, desk: Desk, failed: Failed, sort: Sort, order: list[int]
) -> None:
    """In every order, one by one."""
    made = [take_in(store, failed()) for _ in range(3)]
    deadlines = [50.0, 40.0, None]
    for case_id, deadline, at in zip(made, deadlines, [9.5, 7.0, 8.1], strict=True):
        values = {"deadline": deadline, "updated": at}
        changed = update(cases).where(cases.c.id == case_id).values(values)
        store.run(partial(_execute, changed))
    found: list[int] = []
    after = None
    while True:
        page = desk.list(limit=1, sort=sort, after=after)
        found += [made.index(line.id) for line in page.cases]
        after = page.after
        if after is None:
            break
    assert found == order


def test_a_place_of_another_order_is_refused(desk: Desk) -> None:
    """Not silently taken for something."""
    with pytest.raises(ActionRefused, match="sorted by updated"):
        desk.list(sort="updated", after=uuid7())


@pytest.mark.parametrize(
    ("typed", "hit"),
    [
        ("mailbox", True),
        ("Mailbox FULL", True),
        ("mail", True),  # a word from its beginning
        ("ailbox", False),
        ("full mailbox", False),  # the words as they were typed
        ("a@example.org", True),
        ("nowhere", False),
        ('"args"', True),
        ("%", False),
        ("@", True),  # no word at all: the texts themselves are read
    ],
)
def test_a_search_finds_words_from_their_beginning(
    store: Store, desk: Desk, failed: Failed, typed: str, hit: bool
) -> None:
    """In errors, ids and arguments."""
    take_in(store, failed())
    assert bool(desk.list(Filters(text=typed)).cases) is hit


def test_a_job_is_found_by_its_id(store: Store, desk: Desk, failed: Failed) -> None:
    """As a person copies it from a log."""
    job = uuid7()
    take_in(store, failed(job))
    take_in(store, failed())
    assert len(desk.list(Filters(text=job)).cases) == 1
    assert len(desk.list(Filters(job_id=job)).cases) == 1


def test_cases_of_an_older_release_are_mended(store: Store, desk: Desk, failed: Failed) -> None:
    """They have no fingerprint and no words at first; the upkeep gives them both."""
    case_id = take_in(store, failed())
    store.run(partial(_execute, update(cases).values(fingerprint="")))
    store.run(partial(_execute, case_words.delete()))
    assert desk.keep_up().mended >= 1
    assert desk.get(case_id).fingerprint != ""
    assert len(desk.list(Filters(text="mailbox")).cases) == 1
    assert desk.keep_up().mended == 0


def _plan(query: str, connection: Connection) -> str:
    return str(connection.execute(text(query)).all())


def test_pages_use_indexes(store: Store, desk: Desk, failed: Failed) -> None:
    """What a page costs must not grow with the cases: SQLite says how it reads."""
    take_in(store, failed())
    if not store.one_machine:
        return
    for condition, index in (
        ("state='open' ORDER BY id DESC", "rj_cases_listed"),
        ("state='open' ORDER BY updated DESC, id DESC", "rj_cases_by_update"),
        ("state='open' AND deadline IS NOT NULL ORDER BY deadline, id", "rj_cases_by_deadline"),
        ("state='open' AND fingerprint='x' ORDER BY id DESC", "rj_cases_by_group"),
        ("state='open' AND queue='x' ORDER BY id DESC", "rj_cases_by_queue"),
    ):
        query = f"EXPLAIN QUERY PLAN SELECT id FROM rj_cases WHERE namespace='n' AND {condition}"
        plan = store.read(partial(_plan, query))
        assert index in plan
        assert "TEMP B-TREE" not in plan


def test_a_fingerprint_is_of_job_error_and_way() -> None:
    """Not of lines, folders, numbers or depth; without a way, of the error's text."""
    one = fingerprint("j", failure("after 3 s"))
    assert one == fingerprint("j", failure("after 4 s"))
    assert one != fingerprint("k", failure("after 3 s"))
    assert one != fingerprint("j", failure("after 3 s", "other"))
    frame = '  File "a/b.py", line 1, in f\n'
    deep = Failure(kind="error", error_type="E", error="", traceback=frame * 9)
    deeper = Failure(kind="error", error_type="E", error="", traceback=frame * 3)
    assert fingerprint("j", deep) == fingerprint("j", deeper)
    bare = [
        Failure(kind="error", error_type="E", error=text)
        for text in ("row 'a' 5 bad", "row 'b' 61 bad", "row 'b' 61 worse")
    ]
    marks = [fingerprint("j", one) for one in bare]
    assert marks[0] == marks[1] != marks[2]
