"""The audit of a case as a trail: is it whole, and what did people say on the way."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, select

from rabbitjobs.review import store as rows
from rabbitjobs.review.case import AuditRow, Case
from rabbitjobs.store.audit import hash_of_row
from rabbitjobs.store.schema import audit, cases

# An edit of an edit of an edit: nobody reads further back.
PARENTS_READ = 20


class Comment(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wrote, when (unix seconds), and of which case."""

    case_id: str
    at: float
    who: str
    text: str


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
