"""Statements that the driver runs past SQLAlchemy fail as ever, and read what is committed."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from rabbitjobs.errors import StoreOutdated, StoreUnavailable
from rabbitjobs.store.engine import Store
from rabbitjobs.store.statement import run, run_many

INSERT = "INSERT INTO rj_rates (namespace, key, next_at, tail_at) VALUES (?, ?, 0, 0)"
COUNT = "SELECT count(*) FROM rj_rates"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store in a new file."""
    return Store(f"sqlite:///{tmp_path}/store.db")


def test_errors_are_sqlalchemys(store: Store) -> None:
    """Whoever catches them need not know who ran the statement."""
    store.run(lambda connection: run(connection, INSERT, ("n", "k")))
    with pytest.raises(IntegrityError, match="UNIQUE"):
        store.run(lambda connection: run(connection, INSERT, ("n", "k")))
    with pytest.raises(IntegrityError, match="UNIQUE"):
        store.run(lambda connection: run_many(connection, INSERT, [("n", "new"), ("n", "k")]))
    assert store.select(COUNT) == [(1,)]


def test_a_select_sees_what_is_committed(store: Store) -> None:
    """And nothing of a transaction that is under way."""

    def look_within(connection: Connection) -> list[tuple[int]]:
        run(connection, INSERT, ("n", "k"))
        return store.select(COUNT)

    assert store.run(look_within) == [(0,)]
    assert store.select(COUNT) == [(1,)]


def test_a_select_that_fails_says_it_in_our_words(store: Store) -> None:
    """A table that is missing, and a file that is no database any more."""
    with pytest.raises(StoreOutdated, match="no such table"):
        store.select("SELECT * FROM rj_nothing")
    store.close()
    path = Path(str(store.url.database))
    path.write_bytes(b"no database " * 500)
    with pytest.raises(StoreUnavailable, match="not a database"):
        Store(f"sqlite:///{path}").select(COUNT)


def test_a_connection_that_was_closed_is_replaced(store: Store) -> None:
    """For reading and for writing: a store does not stay with one that cannot be used."""
    store.run(lambda connection: run(connection, INSERT, ("n", "k")))
    assert store.select(COUNT) == [(1,)]
    pooled = store._reader.raw_connection()
    driver = pooled.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    pooled.close()
    driver.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        store.select(COUNT)
    assert store.select(COUNT) == [(1,)]
    assert store._work._connection is not None
    writing = store._work._connection.connection.driver_connection
    assert isinstance(writing, sqlite3.Connection)
    writing.close()
    store.run(lambda connection: run(connection, INSERT, ("n", "k2")))
    assert store.select(COUNT) == [(2,)]
