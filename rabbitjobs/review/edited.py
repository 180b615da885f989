"""An edit: a new case for the new message, linked to the old one, and what changed in words."""

from __future__ import annotations

import difflib

import msgspec
from sqlalchemy import Connection, select

from rabbitjobs import clock
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.review import store as rows
from rabbitjobs.review.case import Case, hash_of
from rabbitjobs.store.schema import cases

DIFF_KEPT = 20_000


def pretty(body: bytes) -> str:
    """A JSON body over several lines, for people; other bytes as text with escapes."""
    try:
        return msgspec.json.format(body, indent=2).decode("utf-8")
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return body.decode("utf-8", "backslashreplace")


def describe_change(before: bytes, after: bytes) -> str:
    """A unified diff of two bodies, line by line of their pretty form."""
    lines = difflib.unified_diff(
        pretty(before).splitlines(), pretty(after).splitlines(), "before", "after", lineterm="", n=1
    )
    return "\n".join(lines)[:DIFF_KEPT] or "the same data, written in another way"


def open_child(
    connection: Connection,
    namespace: str,
    parent: Case,
    envelope: Envelope,
    *,
    who: str,
    detail: str,
    now: float,
) -> Case:
    """Open a case for the edited message and close its parent, which keeps the old one."""
    child_id = clock.uuid7()
    before, after = parent.payload_hash, hash_of(envelope.body)
    row = connection.execute(select(cases).where(cases.c.id == parent.id)).one()
    values = {
        **row._mapping,
        "id": child_id,
        "version": 1,
        "state": "open",
        "opened": now,
        "updated": now,
        "queue": envelope.queue,
        "envelope": msgspec.msgpack.encode(envelope),
        "payload": envelope.body,
        "payload_hash": after,
        "search": rows.search_text(
            parent.job_id, parent.job, parent.error_type, parent.error, pretty(envelope.body)
        ),
        "parent_id": parent.id,
    }
    rows.add(connection, values)
    rows.note(
        connection, child_id, at=now, who=who, action="edit", detail=detail, version=1,
        before=before, after=after,
    )  # fmt: skip
    closed = rows.change(
        connection,
        parent,
        state="closed",
        outcome=f"edited, goes on as {child_id}",
        child_id=child_id,
        closed=now,
        updated=now,
    )
    rows.note(
        connection, parent.id, at=now, who=who, action="edit", detail=detail,
        version=closed.version, before=before, after=after,
    )  # fmt: skip
    return rows.find(connection, namespace, child_id)
