"""The cases in the store: rows to values and back, and writes that carry the version fence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, insert, select, update

from rabbitjobs.errors import CaseChanged, CaseNotFound
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.message.properties import Properties
from rabbitjobs.review import words
from rabbitjobs.review.case import AuditRow, Case, Origin
from rabbitjobs.store.audit import append
from rabbitjobs.store.schema import LIVE_STATES, audit, cases
from rabbitjobs.store.text import storable

note = append
_AS_THEY_ARE = tuple(
    name
    for name in Case.__struct_fields__
    if name not in ("tags", "classes", "envelope", "properties", "payload", "origin", "hidden")
)


def find(connection: Connection, namespace: str, case_id: str) -> Case:
    """The case with this id, or the only one whose id starts so; else ``CaseNotFound``."""
    wanted = storable(case_id.lower())
    query = select(cases).where(cases.c.namespace == namespace)
    row = connection.execute(query.where(cases.c.id == wanted)).first()
    if row is None:
        row = _only_one(connection, query, wanted)
    return as_case(row)


def _only_one(connection: Connection, query: Any, prefix: str) -> Row[Any]:
    among = query.where(cases.c.id.startswith(prefix, autoescape=True)).limit(2)
    rows = connection.execute(among).all() if prefix else []
    if not rows:
        raise CaseNotFound(
            f"expected the id of a case, got {prefix!r}; run: rabbitjobs review list"
        )
    if len(rows) > 1:
        raise CaseNotFound(f"expected the id of one case, got {prefix!r}, with which several start")
    return rows[0]


def find_live(
    connection: Connection, namespace: str, case_id: str | None, job_id: str
) -> Case | None:
    """The live case with this id, else the newest live one of this job."""
    living = select(cases).where(cases.c.namespace == namespace, cases.c.state.in_(LIVE_STATES))
    row = None
    if case_id is not None:
        row = connection.execute(living.where(cases.c.id == case_id)).first()
    if row is None:
        newest = living.where(cases.c.job_id == job_id).order_by(cases.c.id.desc()).limit(1)
        row = connection.execute(newest).first()
    return None if row is None else as_case(row)


def audit_of(connection: Connection, case_id: str) -> tuple[AuditRow, ...]:
    """Everything that was done to a case, oldest first."""
    query = select(audit).where(audit.c.case_id == case_id).order_by(audit.c.id)
    fields = AuditRow.__struct_fields__
    return tuple(
        AuditRow(**{name: row._mapping[name] for name in fields})
        for row in connection.execute(query)
    )


def add(connection: Connection, values: Mapping[str, Any]) -> None:
    """Insert a case; ``values`` by column."""
    connection.execute(insert(cases).values(_storable_values(values)))
    words.put(connection, values["namespace"], values["id"], values["search"])


def change(connection: Connection, found: Case, **values: Any) -> Case:
    """Change a case and raise its version; ``CaseChanged`` if it is not as it was found."""
    version = found.version + 1
    changed = connection.execute(
        update(cases)
        .where(cases.c.id == found.id, cases.c.version == found.version)
        .values(version=version, **_storable_values(values))
    )
    if not changed.rowcount:
        raise changed_since(connection, found.id, found.version)
    row = connection.execute(select(cases).where(cases.c.id == found.id)).one()
    if "search" in values:
        words.put(connection, row.namespace, found.id, values["search"], anew=True)
    return as_case(row)


def _storable_values(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: storable(value) if isinstance(value, str) else value for name, value in values.items()
    }


def changed_since(connection: Connection, case_id: str, version: int) -> CaseChanged:
    """The error that says what happened to a case since a version."""
    later = [row for row in audit_of(connection, case_id) if row.version > version]
    what = "; ".join(f"{row.action} by {row.who} ({row.detail})" for row in later[-3:])
    return CaseChanged(
        f"expected case {case_id} as it was at version {version}, got a newer one: "
        f"{what or 'it was changed'}; look at it again"
    )


def as_case(row: Row[Any]) -> Case:
    """A whole row as a value."""
    values = {name: row._mapping[name] for name in _AS_THEY_ARE}
    envelope = row.envelope
    return Case(
        **values,
        tags=msgspec.json.decode(row.tags, type=tuple[str, ...]),
        classes=msgspec.json.decode(row.classes, type=tuple[str, ...]),
        envelope=msgspec.msgpack.decode(envelope, type=Envelope) if envelope else None,
        properties=msgspec.msgpack.decode(row.properties, type=Properties),
        payload=bytes(row.payload),
        origin=Origin(
            exchange=row.exchange,
            routing_key=row.routing_key,
            source_queue=row.source_queue,
            app_id=row.app_id,
            published=row.published,
            deaths=msgspec.json.decode(row.deaths, type=list[dict[str, Any]]),
        ),
    )
