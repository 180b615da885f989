"""An edit: a new case for the new message, linked to the old one, and what changed in words."""

from __future__ import annotations

import difflib

import msgspec
from sqlalchemy import Connection, select

from rabbitjobs import clock
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.review import store as rows
from rabbitjobs.review.case import Case, hash_of
from rabbitjobs.review.hand import Hand
from rabbitjobs.review.payload_fields import hidden
from rabbitjobs.review.words import search_text
from rabbitjobs.store.schema import cases

DIFF_KEPT = 20_000


def pretty(body: bytes) -> str:
    """A JSON body over several lines, for people; other bytes as text with escapes."""
    try:
        return msgspec.json.format(body, indent=2).decode("utf-8")
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return body.decode("utf-8", "backslashreplace")


def describe_change(before: bytes, after: bytes, sensitive: tuple[str, ...] = ()) -> str:
    """A unified diff of two bodies, line by line of their pretty form.

    ``sensitive`` fields are hidden in it: it stands in the audit, for everybody.
    """
    old, new = (pretty(hidden(body, sensitive)[0]).splitlines() for body in (before, after))
    lines = difflib.unified_diff(old, new, "before", "after", lineterm="", n=1)
    text = "\n".join(lines)[:DIFF_KEPT]
    if text or not sensitive:
        return text or "the same data, written in another way"
    return "the same but for its hidden fields, or how it is written"


def open_child(
    connection: Connection, hand: Hand, parent: Case, envelope: Envelope, detail: str
) -> Case:
    """Open a case for the edited message and close its parent, which keeps the old one."""
    child_id = clock.uuid7()
    before, after = parent.payload_hash, hash_of(envelope.body)
    row = connection.execute(select(cases).where(cases.c.id == parent.id)).one()
    shown = hidden(envelope.body, hand.options.fields_of(parent.job, parent.queue).sensitive)[0]
    values = {
        **row._mapping,
        "id": child_id,
        "version": 1,
        "state": "open",
        "opened": hand.now,
        "updated": hand.now,
        "queue": envelope.queue,
        "envelope": msgspec.msgpack.encode(envelope),
        "payload": envelope.body,
        "payload_hash": after,
        "search": search_text(
            parent.job_id, parent.job, parent.error_type, parent.error, pretty(shown)
        ),
        "parent_id": parent.id,
        "audit_hash": None,
    }
    rows.add(connection, values)
    child = rows.find(connection, hand.namespace, child_id)
    hand.note(connection, child, "edit", detail, before=before, after=after)
    closed = rows.change(
        connection,
        parent,
        state="closed",
        outcome=f"edited, goes on as {child_id}",
        child_id=child_id,
        lease_until=None,
        closed=hand.now,
        updated=hand.now,
    )
    hand.note(connection, closed, "edit", detail, before=before, after=after)
    return child
