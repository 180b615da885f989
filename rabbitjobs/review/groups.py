"""Groups: the cases of one cause, with how many there are and when it was first and last seen."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, and_, case, func, or_, select

from rabbitjobs.errors import ActionRefused
from rabbitjobs.review.bounds import check_page
from rabbitjobs.review.case import Filters
from rabbitjobs.review.listing import ERROR_SHOWN, conditions
from rabbitjobs.store.schema import cases


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """The cases with one fingerprint; ``open`` of them ``total`` wait. Times are unix seconds.

    Job, error type and error are those of the newest, ``newest``.
    """

    fingerprint: str
    total: int
    open: int
    first_seen: float
    last_seen: float
    newest: str
    job: str | None
    queue: str | None
    error_type: str
    error: str


class Groups(msgspec.Struct, frozen=True, kw_only=True):
    """Some groups, the largest first; ``after`` asks for the next page, ``None``: the last."""

    groups: tuple[Group, ...]
    after: str | None


def groups(
    connection: Connection,
    namespace: str,
    filters: Filters,
    limit: int,
    after: str | None,
    *,
    now: float,
    also: tuple[ColumnElement[bool], ...] = (),
) -> Groups:
    """One page of groups, counted over the cases that fit ``filters`` (and ``also``)."""
    check_page(limit)
    number = func.count()
    waiting = func.sum(case((cases.c.state == "open", 1), else_=0))
    query = (
        select(
            cases.c.fingerprint,
            number.label("total"),
            waiting.label("open"),
            func.min(cases.c.opened).label("first_seen"),
            func.max(cases.c.seen).label("last_seen"),
            func.max(cases.c.id).label("newest"),
        )
        .where(
            cases.c.namespace == namespace, *conditions(connection, namespace, filters, now), *also
        )
        .group_by(cases.c.fingerprint)
        .order_by(number.desc(), cases.c.fingerprint)
        .limit(limit + 1)
    )
    if after is not None:
        size, mark = _place(after)
        query = query.having(or_(number < size, and_(number == size, cases.c.fingerprint > mark)))
    counted = connection.execute(query).all()
    shown = [row._mapping for row in counted[:limit]]
    examples = {row.id: row for row in connection.execute(_examples([r["newest"] for r in shown]))}
    found = tuple(
        Group(
            **{str(name): value for name, value in row.items()},
            job=examples[row["newest"]].job,
            queue=examples[row["newest"]].queue,
            error_type=examples[row["newest"]].error_type,
            error=examples[row["newest"]].error,
        )
        for row in shown
    )
    more = len(counted) > limit and bool(found)
    return Groups(
        groups=found, after=f"{found[-1].total}_{found[-1].fingerprint}" if more else None
    )


def _examples(ids: list[str]) -> Select[Any, Any, Any, Any, Any]:
    error = func.substr(cases.c.error, 1, ERROR_SHOWN).label("error")
    return select(cases.c.id, cases.c.job, cases.c.queue, cases.c.error_type, error).where(
        cases.c.id.in_(ids)
    )


def _place(after: str) -> tuple[int, str]:
    size, _, mark = after.partition("_")
    if not size.isascii() or not size.isdigit() or len(size) > 18:
        raise ActionRefused(f"expected the place that a page of groups gave, got {after!r}")
    return int(size), mark
