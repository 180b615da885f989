"""Lists of cases: filters, orders, and pages by key, which cost the same at any depth."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, and_, case, func, not_, or_, select

from rabbitjobs.errors import ActionRefused
from rabbitjobs.review import words
from rabbitjobs.review.bounds import check_page, check_search
from rabbitjobs.review.case import CaseLine, Filters, Page, Sort, Stats
from rabbitjobs.store.schema import cases
from rabbitjobs.store.text import storable

ERROR_SHOWN = 300
AGES = (("1h", 3600.0), ("1d", 86400.0), ("7d", 7 * 86400.0))

_line_columns: list[ColumnElement[Any]] = [
    cases.c[name] for name in CaseLine.__struct_fields__ if name != "error"
]
_line_columns.append(func.substr(cases.c.error, 1, ERROR_SHOWN).label("error"))
# A case without a deadline stands behind all that have one.
_NEVER = 1e18
_KEYS: dict[Sort, ColumnElement[Any] | None] = {
    "newest": None,
    "oldest": None,
    "updated": cases.c.updated,
    "deadline": cases.c.deadline,
}
_DESCENDING: frozenset[Sort] = frozenset({"newest", "updated"})


def page(
    connection: Connection,
    namespace: str,
    filters: Filters,
    limit: int,
    after: str | None,
    *,
    sort: Sort = "newest",
    now: float = 0.0,
    also: tuple[ColumnElement[bool], ...] = (),
) -> Page:
    """One page; ``after`` is the ``after`` of the page before, ``also`` what a person may see.

    Ids rise with time, and the id settles what has the same key, so that no page repeats or misses
    a case when others come in between. Sorted by deadline, only cases that have one are listed.
    """
    check_page(limit)
    chosen = [
        cases.c.namespace == namespace,
        *conditions(connection, namespace, filters, now),
        *also,
    ]
    if sort == "deadline":
        chosen.append(cases.c.deadline.is_not(None))
    if after is not None:
        chosen.append(_beyond(sort, after))
    key = _KEYS[sort]
    order = [column for column in (key, cases.c.id) if column is not None]
    if sort in _DESCENDING:
        order = [column.desc() for column in order]
    # The ids first: rows are wide, and an index holds all that most filters need.
    ids = select(cases.c.id).where(*chosen).order_by(*order).limit(limit + 1)
    wanted = list(connection.execute(ids).scalars())
    found = {
        row.id: _as_line(row)
        for row in connection.execute(select(*_line_columns).where(cases.c.id.in_(wanted[:limit])))
    }
    lines = tuple(found[one] for one in wanted[:limit] if one in found)
    more = len(wanted) > limit and bool(lines)
    return Page(cases=lines, after=_cursor(sort, lines[-1]) if more else None)


def _cursor(sort: Sort, last: CaseLine) -> str:
    if sort == "updated":
        return f"{last.updated.hex()}_{last.id}"
    if sort == "deadline":
        return f"{(last.deadline or _NEVER).hex()}_{last.id}"
    return last.id


def _beyond(sort: Sort, after: str) -> ColumnElement[bool]:
    key = _KEYS[sort]
    if key is None:
        place = storable(after)
        return cases.c.id < place if sort == "newest" else cases.c.id > place
    text, _, case_id = after.partition("_")
    try:
        value = float.fromhex(text)
    except (ValueError, OverflowError):
        raise ActionRefused(
            f"expected the place that a page sorted by {sort} gave, got {after!r}; begin anew"
        ) from None
    case_id = storable(case_id)
    if sort in _DESCENDING:
        return or_(key < value, and_(key == value, cases.c.id < case_id))
    return or_(key > value, and_(key == value, cases.c.id > case_id))


def conditions(
    connection: Connection, namespace: str, filters: Filters, now: float
) -> list[ColumnElement[bool]]:
    """The filters as SQL; ``now`` (unix seconds) says which leases and snoozes still hold."""
    exact = {
        cases.c.state: filters.state,
        cases.c.queue: filters.queue,
        cases.c.job: filters.job,
        cases.c.error_type: filters.error_type,
        cases.c.fingerprint: filters.fingerprint,
        cases.c.owner: filters.owner,
        cases.c.reason: filters.reason,
        cases.c.job_id: filters.job_id,
    }
    found = [column == storable(value) for column, value in exact.items() if value is not None]
    check_search(filters.text)
    if filters.text:
        found += words.having(connection, namespace, filters.text)
    if filters.tag is not None:
        tag = msgspec.json.encode(storable(filters.tag)).decode()
        found.append(cases.c.tags.contains(tag, autoescape=True))
    if filters.claimed is not None:
        found.append(_is(filters.claimed, func.coalesce(cases.c.lease_until, 0.0) > now))
    if filters.snoozed is not None:
        found.append(_is(filters.snoozed, func.coalesce(cases.c.snoozed_until, 0.0) > now))
    if filters.since is not None:
        found.append(cases.c.opened >= filters.since)
    if filters.until is not None:
        found.append(cases.c.opened < filters.until)
    return found


def _is(wanted: bool, condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return condition if wanted else not_(condition)


def stats(
    connection: Connection, namespace: str, now: float, also: tuple[ColumnElement[bool], ...] = ()
) -> Stats:
    """Counts of all cases by state, and of the open ones by queue, error type and age."""
    is_open = (cases.c.state == "open", *also)
    age = case(
        *((cases.c.opened > now - seconds, f"< {name}") for name, seconds in AGES), else_="older"
    )
    return Stats(
        states=_counts(connection, namespace, cases.c.state, *also),
        queues=_counts(connection, namespace, cases.c.queue, *is_open),
        error_types=_counts(connection, namespace, cases.c.error_type, *is_open),
        ages=_counts(connection, namespace, age, *is_open),
    )


def _counts(
    connection: Connection, namespace: str, column: ColumnElement[Any], *conditions: Any
) -> dict[str, int]:
    label = column.label("label")
    query = (
        select(label, func.count().label("number"))
        .where(cases.c.namespace == namespace, *conditions)
        .group_by("label")
        .order_by(func.count().desc(), "label")
    )
    return {str(row.label or "-"): int(row.number) for row in connection.execute(query)}


def _as_line(row: Row[Any]) -> CaseLine:
    values = {name: row._mapping[name] for name in CaseLine.__struct_fields__ if name != "tags"}
    return CaseLine(**values, tags=msgspec.json.decode(row.tags, type=tuple[str, ...]))
