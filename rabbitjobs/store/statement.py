"""Statements that we write out ourselves, on either database: ``?`` stands for a value.

SQLAlchemy's own account of a statement takes 20 microseconds, SQLite's work 2 to 8: there the
driver runs it. Without SQLAlchemy's import, which takes longer than a worker's whole start.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, cast

if TYPE_CHECKING:
    from sqlalchemy import Connection, Dialect, Engine

Row = tuple[Any, ...]


class Answer(Protocol):
    """What a statement gave: the rows found, or how many were changed."""

    @property
    def rowcount(self) -> int:
        """How many rows were changed."""
        ...

    def fetchone(self) -> Any:
        """The next row, ``None`` after the last."""
        ...

    def __iter__(self) -> Iterator[Any]: ...


def run(connection: Connection, statement: str, values: Row = ()) -> Answer:
    """Run a statement; raises SQLAlchemy's errors, whoever runs it."""
    if connection.dialect.name != "sqlite":
        answer: Any = connection.exec_driver_sql(statement.replace("?", "%s"), values)
        return cast(Answer, answer)
    try:
        return _driver(connection).execute(statement, values)
    except sqlite3.Error as error:
        _raise_as_ever(connection.dialect, statement, error)


def run_many(connection: Connection, statement: str, rows: Sequence[Row]) -> None:
    """Run a statement once for each row of values."""
    if connection.dialect.name != "sqlite":
        connection.exec_driver_sql(statement.replace("?", "%s"), list(rows))
        return
    try:
        _driver(connection).executemany(statement, rows)
    except sqlite3.Error as error:
        _raise_as_ever(connection.dialect, statement, error)


def select(engine: Engine, statement: str, values: Row = ()) -> list[Any]:
    """The rows of one SELECT, which sees one state of the database without a transaction too."""
    if engine.dialect.name != "sqlite":
        with engine.begin() as connection:
            return list(run(connection, statement, values))
    pooled = engine.raw_connection()
    try:
        driver: Any = pooled.driver_connection
        found: list[Any] = driver.execute(statement, values).fetchall()
        return found
    except sqlite3.Error as error:
        pooled.invalidate()
        _raise_as_ever(engine.dialect, statement, error)
    finally:
        pooled.close()


def _driver(connection: Connection) -> sqlite3.Connection:
    driver: Any = connection.connection.driver_connection
    return driver  # type: ignore[no-any-return]


def _raise_as_ever(dialect: Dialect, statement: str, error: sqlite3.Error) -> NoReturn:
    from sqlalchemy.exc import DBAPIError

    gone = dialect.is_disconnect(error, None, None)  # type: ignore[arg-type]
    raise DBAPIError.instance(
        statement, None, error, sqlite3.Error, connection_invalidated=gone
    ) from error
