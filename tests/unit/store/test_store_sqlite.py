"""SQLite in trouble: locked, full, and what it is told for durability's sake."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from rabbitjobs.errors import StoreUnavailable
from rabbitjobs.store import connect
from rabbitjobs.store.engine import Store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store that waits for a lock for a moment only."""
    monkeypatch.setattr(connect, "BUSY_SECONDS", 1)
    store = Store(f"sqlite:///{tmp_path / 'store.db'}")
    store.migrate()
    yield store
    store.close()


def put(connection: Connection, size: int = 1) -> None:
    """Write a row with a result of this size."""
    connection.execute(
        text(
            "INSERT INTO rj_jobs (namespace, job_id, job, queue, status, attempt, enqueued, worker,"
            " result) VALUES ('n', hex(randomblob(8)), 'j', 'q', 'succeeded', 1, 0, '', :data)"
        ),
        {"data": b"x" * size},
    )


def pragma(connection: Connection, name: str) -> object:
    return connection.exec_driver_sql(f"PRAGMA {name}").scalar()


def test_commits_are_durable(store: Store) -> None:
    """WAL, and the log is synced at every commit: 2 is FULL."""
    assert store.run(lambda c: pragma(c, "journal_mode")) == "wal"
    assert store.run(lambda c: pragma(c, "synchronous")) == 2


def test_a_locked_file_is_unavailable_and_then_usable_again(store: Store, tmp_path: Path) -> None:
    """Another process holds the write lock for too long."""
    store.run(put)
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        store.run(put)
    assert store.read(lambda c: c.execute(text("SELECT count(*) FROM rj_jobs")).scalar()) == 1
    other.execute("ROLLBACK")
    other.close()
    store.run(put)


def test_a_full_disk_is_unavailable_and_loses_nothing_confirmed(store: Store) -> None:
    """Every waiter is told; when there is room again, writing goes on by itself."""
    store.run(put)
    pages = store.run(lambda c: pragma(c, "page_count"))
    store.run(lambda c: pragma(c, f"max_page_count = {pages}"))
    with pytest.raises(StoreUnavailable, match="full"):
        store.run(lambda c: put(c, 1_000_000))
    # The connection was dropped with its limit: the next one has room.
    store.run(lambda c: put(c, 1_000_000))
    assert store.read(lambda c: c.execute(text("SELECT count(*) FROM rj_jobs")).scalar()) == 2


def test_a_damaged_file_is_an_error_and_no_hang(tmp_path: Path) -> None:
    """Something else stands where the store should be."""
    (tmp_path / "store.db").write_bytes(b"this is no database" * 1000)
    store = Store(f"sqlite:///{tmp_path / 'store.db'}")
    with pytest.raises(StoreUnavailable, match="not a database"):
        store.run(put)
    store.close()
