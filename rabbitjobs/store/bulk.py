"""Many rows by one statement: what makes a recorded outcome cheap on both databases.

SQLAlchemy's compiler costs more than the row itself here, so these statements are written out.
SQLite is quick with ``executemany``; PostgreSQL takes one array for each column.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection

from rabbitjobs.store.statement import Row, run, run_many


class Columns(NamedTuple):
    """The columns of an insert and their PostgreSQL types, in order."""

    table: str
    names: tuple[str, ...]
    types: tuple[str, ...]


def insert(connection: Connection, columns: Columns, rows: Sequence[Row], tail: str) -> None:
    """Insert rows; ``tail`` is the ON CONFLICT clause."""
    if not rows:
        return
    names = ", ".join(columns.names)
    if connection.dialect.name == "sqlite":
        marks = ", ".join("?" * len(columns.names))
        run_many(connection, f"INSERT INTO {columns.table} ({names}) VALUES ({marks}) {tail}", rows)
    else:
        statement = f"INSERT INTO {columns.table} ({names}) {_unnest(columns)} {tail}"
        run(connection, statement, _as_arrays(rows))


def insert_new(connection: Connection, columns: Columns, rows: Sequence[Row], key: int) -> set[Row]:
    """Insert the rows whose key (the first ``key`` columns) is new; returns the keys inserted.

    Rows must differ in their keys, and share their first column. SQLite reads first which keys
    exist: the caller holds its write lock, so nobody can add one in between.
    """
    if not rows:
        return set()
    if connection.dialect.name == "sqlite":
        known = existing(connection, columns, rows, key)
        fresh = [row for row in rows if row[:key] not in known]
        insert(connection, columns, fresh, "")
        return {row[:key] for row in fresh}
    names = ", ".join(columns.names)
    returning = ", ".join(columns.names[:key])
    found = run(
        connection,
        f"INSERT INTO {columns.table} ({names}) {_unnest(columns)} "
        f"ON CONFLICT DO NOTHING RETURNING {returning}",
        _as_arrays(rows),
    )
    return {tuple(row) for row in found}


def existing(connection: Connection, columns: Columns, rows: Sequence[Row], key: int) -> set[Row]:
    """The keys that stand in the table, among (at least) those of the rows."""
    names = ", ".join(columns.names[:key])
    among, parameters = among_seconds(connection, columns, rows)
    found = run(connection, f"SELECT {names} FROM {columns.table} {among}", parameters)
    return {tuple(row) for row in found}


def among_seconds(connection: Connection, columns: Columns, rows: Sequence[Row]) -> tuple[str, Row]:
    """A WHERE clause for all rows that share the first column and one of the second columns."""
    first, second = columns.names[:2]
    values = [row[1] for row in rows]
    if connection.dialect.name == "sqlite":
        clause = f"WHERE {first} = ? AND {second} IN (SELECT value FROM json_each(?))"
        return clause, (rows[0][0], msgspec.json.encode(values).decode())
    return f"WHERE {first} = ? AND {second} = ANY(?::text[])", (rows[0][0], values)


def _unnest(columns: Columns) -> str:
    arrays = ", ".join(f"?::{kind}[]" for kind in columns.types)
    return f"SELECT * FROM unnest({arrays})"


def _as_arrays(rows: Sequence[Row]) -> Row:
    return tuple([list(column) for column in zip(*rows, strict=True)])
