"""The audit of the cases: rows that are only added, each hashed over itself and the row before.

Whoever changes, removes or slips in a row afterwards breaks the chain from there on. The hash of
the newest row stands in the case, so that rows cut off at the end are missed as well.
"""

from __future__ import annotations

import hashlib
import json

from sqlalchemy import Connection, insert, select, update

from rabbitjobs.store.schema import audit, cases
from rabbitjobs.store.text import storable


def append(
    connection: Connection,
    case_id: str,
    *,
    at: float,
    who: str,
    action: str,
    detail: str,
    version: int,
    before: str | None = None,
    after: str | None = None,
    via: str | None = None,
) -> None:
    """Add a row to a case's audit; ``before`` and ``after`` are hashes of the payload.

    ``via`` says from where the person acted. The case's row is locked until the transaction ends,
    so that two rows never follow the same one.
    """
    newest = select(cases.c.audit_hash).where(cases.c.id == case_id).with_for_update()
    previous = connection.execute(newest).scalar()
    values = {
        "case_id": case_id,
        "at": at,
        "who": storable(who),
        "action": action,
        "detail": storable(detail),
        "before_hash": before,
        "after_hash": after,
        "version": version,
        "via": storable(via) if via else None,
    }
    own = hash_of_row(previous, values)
    connection.execute(insert(audit).values(hash=own, **values))
    connection.execute(update(cases).where(cases.c.id == case_id).values(audit_hash=own))


def hash_of_row(previous: str | None, values: dict[str, object]) -> str:
    """SHA-256 over the hash of the row before and every column of this one, in a fixed form."""
    fields = (
        "case_id", "at", "who", "action", "detail", "before_hash", "after_hash", "version", "via",
    )  # fmt: skip
    # As hex: a float comes back from every database with the same bits, its text may differ.
    shown = [float(str(values["at"])).hex() if name == "at" else values[name] for name in fields]
    text = json.dumps([previous, *shown], ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()
