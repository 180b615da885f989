"""The audit of a case as a trail: is it whole, and what did people say on the way."""

from __future__ import annotations

import msgspec
from sqlalchemy import ColumnElement, Connection, func, select

from rabbitjobs.review import store as rows
from rabbitjobs.review.bounds import check_page
from rabbitjobs.review.case import AuditRow, Case
from rabbitjobs.store.audit import hash_of_row
from rabbitjobs.store.schema import audit, bulk, cases
from rabbitjobs.store.text import storable

# An edit of an edit of an edit: nobody reads further back.
PARENTS_READ = 20


class Comment(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wrote, when (unix seconds), and of which case."""

    case_id: str
    at: float
    who: str
    text: str


class Deed(AuditRow, frozen=True, kw_only=True):
    """A row of the audit with the case that it is of."""

    case_id: str
    job: str | None
    queue: str | None


class Deeds(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of the audit, newest first; ``after`` asks for the next page, ``None``: the last."""

    deeds: tuple[Deed, ...]
    after: int | None


def deeds(
    connection: Connection,
    namespace: str,
    limit: int,
    after: int | None,
    *,
    doer: str | None = None,
    action: str | None = None,
    also: tuple[ColumnElement[bool], ...] = (),
) -> Deeds:
    """One page of the audit of all cases, newest first; ``also`` is what a person may see."""
    check_page(limit)
    # Without a join: a database may begin one at the cases, and read all of them for a page.
    seen = select(cases.c.id).where(
        cases.c.id == audit.c.case_id, cases.c.namespace == namespace, *also
    )
    chosen: list[ColumnElement[bool]] = [seen.exists()]
    if after is not None:
        chosen.append(audit.c.id < after)
    if doer is not None:
        chosen.append(audit.c.who == storable(doer))
    if action is not None:
        chosen.append(audit.c.action == storable(action))
    query = select(audit).where(*chosen).order_by(audit.c.id.desc()).limit(limit + 1)
    found = connection.execute(query).all()
    about = select(cases.c.id, cases.c.job, cases.c.queue).where(
        cases.c.id.in_({row.case_id for row in found})
    )
    known = {row.id: {"job": row.job, "queue": row.queue} for row in connection.execute(about)}
    names = (*AuditRow.__struct_fields__, "case_id")
    shown = tuple(
        Deed(**{name: row._mapping[name] for name in names}, **known[row.case_id])
        for row in found[:limit]
    )
    return Deeds(deeds=shown, after=shown[-1].id if len(found) > limit else None)


def pulse(connection: Connection, namespace: str) -> str:
    """A mark that is another one after any change of a case or a bulk action.

    Nothing happens to a case without a row of the audit. One of another namespace changes it too.
    """
    deed = connection.execute(select(func.max(audit.c.id))).scalar()
    moved = select(func.max(bulk.c.updated)).where(bulk.c.namespace == namespace)
    return f"{deed}_{connection.execute(moved).scalar()}"


def fault(connection: Connection, namespace: str, case_id: str) -> str | None:
    """What is wrong with the audit of a case; ``None`` if every row is as it was written.

    Rows from before the chain have no hash: they can stand at the beginning only, and nothing says
    whether they are true.
    """
    last: str | None = None
    for row in rows.audit_of(connection, case_id):
        if row.hash is None:
            if last is not None:
                return f"row {row.id} ({row.action} by {row.who}) was added without a hash"
            continue
        values = {name: getattr(row, name) for name in AuditRow.__struct_fields__}
        if hash_of_row(last, {**values, "case_id": case_id}) != row.hash:
            return f"row {row.id} ({row.action} by {row.who}) or the one before it was changed"
        last = row.hash
    newest = connection.execute(
        select(cases.c.audit_hash).where(cases.c.namespace == namespace, cases.c.id == case_id)
    ).scalar()
    return None if newest == last else "rows at the end of it were taken away"


def comments(connection: Connection, namespace: str, case: Case) -> tuple[Comment, ...]:
    """The comments on a case and on the cases it came from, oldest first."""
    line = [case.id]
    parent = case.parent_id
    while parent is not None and parent not in line and len(line) <= PARENTS_READ:
        line.append(parent)
        above = select(cases.c.parent_id).where(
            cases.c.namespace == namespace, cases.c.id == parent
        )
        parent = connection.execute(above).scalar()
    query = (
        select(audit.c.case_id, audit.c.at, audit.c.who, audit.c.detail)
        .join(cases, cases.c.id == audit.c.case_id)
        .where(
            cases.c.namespace == namespace, audit.c.case_id.in_(line), audit.c.action == "comment"
        )
        .order_by(audit.c.id)
    )
    return tuple(
        Comment(case_id=row.case_id, at=row.at, who=row.who, text=row.detail)
        for row in connection.execute(query)
    )
