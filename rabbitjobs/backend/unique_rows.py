"""The unique keys: who holds one, and until when at most."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, and_, delete, or_, select, update

from rabbitjobs.backend.protocol import Record
from rabbitjobs.store.bulk import Columns, insert
from rabbitjobs.store.schema import unique_keys

_COLUMNS = Columns(
    "rj_unique", ("namespace", "key", "job_id", "until"), ("text", "text", "text", "float8")
)


def claim(
    connection: Connection, *, namespace: str, key: str, job_id: str, until: float, now: float
) -> str | None:
    """Take a key that is free or past its time; returns the other holder's job id if it is not."""
    insert(
        connection,
        _COLUMNS,
        [(namespace, key, job_id, until)],
        "ON CONFLICT (namespace, key) DO UPDATE SET job_id = excluded.job_id,"
        f" until = excluded.until WHERE rj_unique.until <= {now!r}",
    )
    query = select(unique_keys.c.job_id).where(
        unique_keys.c.namespace == namespace, unique_keys.c.key == key
    )
    holder = connection.execute(query).scalar_one()
    return None if holder == job_id else str(holder)


def keep(connection: Connection, *, namespace: str, key: str, job_id: str, until: float) -> None:
    """Hold a key longer. An update only: a job that has ended meanwhile must not get it back."""
    connection.execute(
        update(unique_keys)
        .where(
            unique_keys.c.namespace == namespace,
            unique_keys.c.key == key,
            unique_keys.c.job_id == job_id,
        )
        .values(until=until)
    )


def free(connection: Connection, *, namespace: str, holders: Sequence[tuple[str, str]]) -> None:
    """Free keys: (key, job id) pairs; a key that another job holds by now is left alone."""
    held = or_(
        *(
            and_(unique_keys.c.key == key, unique_keys.c.job_id == job_id)
            for key, job_id in sorted(holders)
        )
    )
    connection.execute(delete(unique_keys).where(unique_keys.c.namespace == namespace, held))


def free_ended(connection: Connection, namespace: str, records: Sequence[Record]) -> None:
    """Free the keys of jobs that have reached a final state."""
    ended = [(r.unique, r.job_id) for r in records if r.unique is not None and r.status.final]
    for start in range(0, len(ended), 100):  # SQLite limits the depth of an expression
        free(connection, namespace=namespace, holders=ended[start : start + 100])
