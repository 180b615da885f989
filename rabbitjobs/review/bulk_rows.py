"""Bulk actions in the store: frozen to ids and versions, and what became of each case."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    case,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)

from rabbitjobs import clock
from rabbitjobs.errors import BulkNotFound
from rabbitjobs.review.bulk_case import Bulk, BulkAction, BulkItem, Terms
from rabbitjobs.store.schema import bulk, bulk_items, cases
from rabbitjobs.store.text import storable

MOST_CASES = 100_000
_LIVE = ("releasing", "released")

# What became of an item, as far as its case tells: see ``Fate``.
_sent = and_(bulk_items.c.state == "done", bulk_items.c.release_id.is_not(None))
_own = cases.c.release_id == bulk_items.c.release_id
_fate = case(
    (bulk_items.c.state != "done", bulk_items.c.state),
    (bulk_items.c.release_id.is_(None), "done"),
    (and_(_own, cases.c.state.in_(_LIVE)), "under way"),
    (and_(_own, cases.c.state == "closed", cases.c.outcome.startswith("succeeded")), "succeeded"),
    (and_(_own, cases.c.state == "closed"), "ended"),
    else_="failed",
).label("fate")
FAILED = or_(
    bulk_items.c.state == "failed",
    and_(_sent, or_(~_own, cases.c.state == "open", cases.c.state.is_(None))),
)


def freeze(
    connection: Connection,
    namespace: str,
    who: str,
    action: BulkAction,
    terms: Terms,
    chosen: Sequence[ColumnElement[bool]],
    now: float,
) -> str:
    """Note a bulk action and the cases that fit now, oldest first, each with its version."""
    bulk_id = clock.uuid7()
    fitting = (
        select(cases.c.id, cases.c.version)
        .where(cases.c.namespace == namespace, *chosen)
        .order_by(cases.c.id)
        .limit(MOST_CASES)
        .subquery()
    )
    place = func.row_number().over(order_by=fitting.c.id)
    columns = ["bulk_id", "place", "case_id", "version", "state", "outcome"]
    frozen = select(
        literal(bulk_id), place, fitting.c.id, fitting.c.version, literal("waiting"), literal("")
    )
    connection.execute(insert(bulk_items).from_select(columns, frozen))
    total = select(func.count()).where(bulk_items.c.bulk_id == bulk_id)
    connection.execute(
        insert(bulk).values(
            id=bulk_id, namespace=namespace, who=storable(who), action=action,
            params=storable(msgspec.json.encode(terms).decode()), state="ready", why="",
            created=now, updated=now, next_at=now, total=connection.execute(total).scalar_one(),
        )
    )  # fmt: skip
    return bulk_id


def find(connection: Connection, namespace: str, bulk_id: str, *, lock: bool = False) -> Bulk:
    """The bulk action with this id; ``lock`` keeps other runners out until the commit."""
    query = select(bulk).where(bulk.c.namespace == namespace, bulk.c.id == storable(bulk_id))
    row = connection.execute(query.with_for_update() if lock else query).first()
    if row is None:
        raise BulkNotFound(
            f"expected the id of a bulk action, got {bulk_id!r}; run: rabbitjobs review bulk list"
        )
    return _as_bulk(row)


def newest(connection: Connection, namespace: str, limit: int) -> tuple[Bulk, ...]:
    """The last bulk actions, newest first."""
    query = select(bulk).where(bulk.c.namespace == namespace).order_by(bulk.c.id.desc())
    return tuple(_as_bulk(row) for row in connection.execute(query.limit(limit)))


def counted(connection: Connection, found: Bulk) -> Bulk:
    """The same with its cases counted by fate."""
    query = (
        select(_fate, func.count().label("number"))
        .select_from(_with_cases())
        .where(bulk_items.c.bulk_id == found.id)
        .group_by("fate")
    )
    counts = {str(row.fate): int(row.number) for row in connection.execute(query)}
    return msgspec.structs.replace(found, counts=counts)


def change(connection: Connection, found: Bulk, now: float, **values: Any) -> Bulk:
    """Change a bulk action."""
    connection.execute(update(bulk).where(bulk.c.id == found.id).values(updated=now, **values))
    return msgspec.structs.replace(found, updated=now, **values)


def forgive(connection: Connection, found: Bulk) -> Bulk:
    """Let the failures so far stop it no more; its canary has told what it can."""
    limit = found.terms.failures
    if limit is not None:
        limit += failures(connection, found.id)
    terms = msgspec.structs.replace(found.terms, canary=0, failures=limit)
    params = storable(msgspec.json.encode(terms).decode())
    connection.execute(update(bulk).where(bulk.c.id == found.id).values(params=params))
    return msgspec.structs.replace(found, terms=terms)


def items(
    connection: Connection, bulk_id: str, after: int, limit: int, fate: str | None = None
) -> tuple[BulkItem, ...]:
    """What became of each case behind place ``after``."""
    query = (
        select(
            bulk_items.c.place, bulk_items.c.case_id, bulk_items.c.outcome, bulk_items.c.at, _fate,
            cases.c.outcome.label("end"), cases.c.state.label("case_state"),
        )
        .select_from(_with_cases())
        .where(bulk_items.c.bulk_id == bulk_id, bulk_items.c.place > after)
    )  # fmt: skip
    if fate is not None:
        query = query.where(_fate.element == fate)
    rows = connection.execute(query.order_by(bulk_items.c.place).limit(limit))
    return tuple(_as_item(row) for row in rows)


def next_waiting(connection: Connection, bulk_id: str) -> tuple[int, str, int] | None:
    """The first case that was not begun: its place, id and version when it was frozen."""
    query = (
        select(bulk_items.c.place, bulk_items.c.case_id, bulk_items.c.version)
        .where(bulk_items.c.bulk_id == bulk_id, bulk_items.c.state == "waiting")
        .order_by(bulk_items.c.place)
        .limit(1)
    )
    row = connection.execute(query).first()
    return None if row is None else (row.place, row.case_id, row.version)


def version_of(connection: Connection, bulk_id: str, place: int) -> int:
    """The version that a case had when it was frozen."""
    query = select(bulk_items.c.version).where(
        bulk_items.c.bulk_id == bulk_id, bulk_items.c.place == place
    )
    return int(connection.execute(query).scalar_one())


def canary_fates(connection: Connection, bulk_id: str, size: int) -> list[str]:
    """What became of the first ``size`` cases."""
    query = (
        select(_fate)
        .select_from(_with_cases())
        .where(bulk_items.c.bulk_id == bulk_id, bulk_items.c.place <= size)
    )
    return [str(fate) for fate in connection.execute(query).scalars()]


def failures(connection: Connection, bulk_id: str) -> int:
    """How many of its jobs have failed again, or were not taken by the broker."""
    query = (
        select(func.count())
        .select_from(_with_cases())
        .where(bulk_items.c.bulk_id == bulk_id, FAILED)
    )
    return int(connection.execute(query).scalar_one())


def mark(
    connection: Connection,
    bulk_id: str,
    place: int,
    *,
    state: str,
    outcome: str,
    now: float,
    release_id: str | None = None,
) -> None:
    """Note what was done with one case."""
    connection.execute(
        update(bulk_items)
        .where(bulk_items.c.bulk_id == bulk_id, bulk_items.c.place == place)
        .values(state=state, outcome=storable(outcome), at=now, release_id=release_id)
    )


def _with_cases() -> Any:
    return bulk_items.outerjoin(cases, cases.c.id == bulk_items.c.case_id)


def _as_bulk(row: Row[Any]) -> Bulk:
    values = {
        name: row._mapping[name]
        for name in Bulk.__struct_fields__
        if name not in ("terms", "counts")
    }
    return Bulk(**values, terms=msgspec.json.decode(row.params, type=Terms))


def _as_item(row: Any) -> BulkItem:
    outcome = str(row.outcome)
    if row.fate in ("succeeded", "ended"):
        outcome = f"{outcome}; {row.end}"
    elif row.fate == "failed" and row.case_state == "open":
        outcome = f"{outcome}; open again"
    return BulkItem(
        place=row.place, case_id=row.case_id, fate=cast("Any", row.fate), outcome=outcome, at=row.at
    )
