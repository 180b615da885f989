"""The trail of a case: comments that last, an audit whose rows are chained, exports."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from functools import partial

import pytest
from sqlalchemy import Connection, Executable, delete, insert, select, update

from rabbitjobs.backend.protocol import Record
from rabbitjobs.backend.sql import SqlBackend
from rabbitjobs.review.case import Case, Filters
from rabbitjobs.review.desk import Desk
from rabbitjobs.review.intake import FailedMessage, take_in
from rabbitjobs.store.engine import Store
from rabbitjobs.store.schema import audit

Failed = Callable[..., FailedMessage]
OTHER_BODY = b'{"args":["b@example.org"],"kwargs":{}}'


def _execute(statement: Executable, connection: Connection) -> None:
    connection.execute(statement)


async def test_a_comment_survives_retries_and_edits(
    store: Store,
    backend: SqlBackend,
    desk: Desk,
    case: Case,
    failed: Failed,
    outcome: Callable[..., Record],
) -> None:
    """It is told in the case that goes on, and in the one after that."""
    commented = desk.comment(case.id, "asked the customer", who="ann", version=1)
    released = desk.retry(case.id, who="ann", version=commented.version)
    about = {"case": case.id, "release": released.release_id}
    take_in(store, failed(case.job_id, 4, **about))
    again = desk.get(case.id)
    child = desk.edit(case.id, OTHER_BODY, who="ann", version=again.version)
    desk.comment(child.id, "now it is right", who="bob", version=child.version)
    about = {"case": child.id, "release": child.release_id}
    await backend.record(outcome(str(case.job_id), int(child.release_attempt or 0), **about))
    assert desk.get(child.id).state == "closed"
    told = [(one.who, one.text) for one in desk.comments(child.id)]
    assert told == [("ann", "asked the customer"), ("bob", "now it is right")]
    assert [one.text for one in desk.comments(case.id)] == ["asked the customer"]


async def test_every_row_of_an_audit_is_chained(
    backend: SqlBackend, desk: Desk, case: Case, outcome: Callable[..., Record]
) -> None:
    """Those of intake, people, relay and workers alike; and it says from where."""
    far = desk.reached_by("web 192.0.2.7")
    released = far.retry(case.id, who="ann", version=1)
    about = {"case": case.id, "release": released.release_id}
    await backend.record(outcome(str(case.job_id), 4, ended=1234567890.123456, **about))
    rows = desk.audit(case.id)
    assert [row.action for row in rows] == ["open", "retry", "released", "close"]
    assert [row.via for row in rows] == [None, "web 192.0.2.7", None, None]
    assert all(row.hash for row in rows)
    assert desk.verify(case.id) is None


@pytest.mark.parametrize(
    "tamper",
    [
        lambda ids: update(audit).where(audit.c.id == ids[1]).values(who="nobody"),
        lambda ids: update(audit).where(audit.c.id == ids[1]).values(detail="other"),
        lambda ids: update(audit).where(audit.c.id == ids[1]).values(at=1.0),
        lambda ids: update(audit).where(audit.c.id == ids[1]).values(after_hash="0"),
        lambda ids: update(audit).where(audit.c.id == ids[1]).values(via="elsewhere"),
        lambda ids: update(audit).where(audit.c.id == ids[1]).values(hash=None),
        lambda ids: delete(audit).where(audit.c.id == ids[0]),
        lambda ids: delete(audit).where(audit.c.id == ids[1]),
        lambda ids: delete(audit).where(audit.c.id == ids[2]),
        lambda ids: delete(audit).where(audit.c.id.in_(ids)),
    ],
)
def test_what_was_changed_in_an_audit_is_seen(
    store: Store, desk: Desk, case: Case, tamper: Callable[[list[int]], Executable]
) -> None:
    """A row altered, taken out in the middle, or cut off at the end."""
    desk.comment(case.id, "one", who="ann", version=1)
    desk.comment(case.id, "two", who="ann", version=2)
    assert desk.verify(case.id) is None
    ids = [row.id for row in desk.audit(case.id)]
    store.run(partial(_execute, tamper(ids)))
    assert desk.verify(case.id) is not None


def test_a_row_slipped_in_is_seen(store: Store, desk: Desk, case: Case) -> None:
    """A copy of a true one too."""
    columns = [column for column in audit.c if column.name != "id"]
    (row,) = store.read(lambda c: c.execute(select(*columns)).all()[-1:])
    store.run(partial(_execute, insert(audit).values(dict(row._mapping))))
    assert desk.verify(case.id) is not None


def test_rows_from_before_the_chain_may_stand_at_its_beginning(
    store: Store, desk: Desk, case: Case
) -> None:
    """A store that is older than this release has some."""
    old = {"case_id": case.id, "at": 1.0, "who": "x", "action": "open", "detail": "", "version": 1}
    store.run(partial(_execute, delete(audit).where(audit.c.case_id == case.id)))
    from rabbitjobs.store.schema import cases

    without = update(cases).where(cases.c.id == case.id).values(audit_hash=None)
    store.run(partial(_execute, without))
    store.run(partial(_execute, insert(audit).values(old)))
    assert desk.verify(case.id) is None
    desk.comment(case.id, "now", who="ann", version=1)
    assert desk.verify(case.id) is None
    store.run(partial(_execute, insert(audit).values(old)))
    assert "without a hash" in str(desk.verify(case.id))


def test_an_export_has_every_case_that_fits(store: Store, desk: Desk, failed: Failed) -> None:
    """As JSON lines with audit and arguments, oldest first, over many pages."""
    from rabbitjobs.review import export

    made = [take_in(store, failed()) for _ in range(3)]
    take_in(store, failed(queue="images"))
    export_page, export.PAGE = export.PAGE, 2
    try:
        lines = [json.loads(line) for line in desk.export(Filters(queue="emails"))]
    finally:
        export.PAGE = export_page
    assert [line["id"] for line in lines] == made
    assert lines[0]["arguments"] == {"args": ["a@example.org"], "kwargs": {}}
    assert [row["action"] for row in lines[0]["audit"]] == ["open"]
    assert lines[0]["history"][0]["error"] == "late"


def test_a_csv_export_is_no_program(store: Store, desk: Desk, failed: Failed) -> None:
    """A spreadsheet runs what begins like a formula; a line break stays in its cell."""
    from rabbitjobs.policy.decision import Failure

    error = '=HYPERLINK("http://evil")\nsecond'
    failure = Failure(kind="error", error_type="+E", error=error)
    case_id = take_in(store, failed(failure=failure, queue="@queue"))
    desk.tag(case_id, ("=1+1", "b"), who="ann", version=1)
    heading, row = csv.reader(f"{line}\n" for line in desk.export(form="csv"))
    cells = dict(zip(heading, row, strict=True))
    assert cells["id"] == case_id
    assert cells["error"] == f"'{error}"
    assert (cells["error_type"], cells["queue"], cells["tags"]) == ("'+E", "'@queue", "'=1+1 b")
    assert cells["opened"].endswith("UTC")
