"""A fresh SQLite store is made without SQLAlchemy and alembic, and is the same store."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from rabbitjobs.store import migrate as migration
from rabbitjobs.store import sqlite_file
from rabbitjobs.store.engine import Store
from rabbitjobs.store.fresh import REVISIONS
from rabbitjobs.store.sqlite_file import is_ready, plain_path


def schema(path: Path) -> list[object]:
    """Every table and index with its columns as SQLite understands them, and the rows of both."""
    connection = sqlite3.connect(path)
    found: list[object] = []
    names = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name")
    for kind, name, table, sql in names.fetchall():
        text = "".join(str(sql).split())  # the spaces differ, and mean nothing
        found.append((kind, name, table, text))
        for pragma in ("table_xinfo", "index_xinfo", "index_list"):
            rows = connection.execute(f"PRAGMA {pragma}({name})").fetchall()
            found.append((name, pragma, sorted(rows, key=str)))
    found.append(connection.execute("SELECT * FROM rj_version").fetchall())
    connection.close()
    return found


@pytest.fixture
def migrated(tmp_path: Path) -> Path:
    """A store that the whole chain of migrations has made."""
    path = tmp_path / "migrated.db"
    store = Store(f"sqlite:///{path}")
    store._transaction(store._writer, migration._run_alembic)
    store.close()
    return path


def test_a_fresh_file_gets_the_schema_that_the_migrations_make(
    migrated: Path, tmp_path: Path
) -> None:
    """To the last column and index."""
    assert is_ready(tmp_path / "new.db")
    expected = schema(migrated)
    assert len(expected) > 60
    assert schema(tmp_path / "new.db") == expected


def test_a_store_that_migrates_an_empty_file_makes_that_schema_too(
    migrated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without alembic."""
    monkeypatch.setattr(migration, "_run_alembic", pytest.fail)
    store = Store(f"sqlite:///{tmp_path / 'new.db'}")
    assert store.migrate() is None
    store.check()
    store.close()
    assert schema(tmp_path / "new.db") == schema(migrated)


def test_tables_of_others_in_the_file_stay_and_ours_come_by_the_chain(tmp_path: Path) -> None:
    """A file that is not empty is not fresh."""
    path = tmp_path / "shared.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (a)")
    connection.commit()
    connection.close()
    assert not is_ready(path)
    store = Store(f"sqlite:///{path}")
    assert store.migrate() is None
    store.check()
    store.close()
    assert is_ready(path)


def test_an_older_schema_is_not_ready_until_it_is_migrated(tmp_path: Path) -> None:
    """Whoever finds one asks the store, which migrates it or refuses it."""
    path = tmp_path / "old.db"
    assert is_ready(path)
    path.unlink()
    _made_by_the_first_release(path)
    assert not is_ready(path)
    store = Store(f"sqlite:///{path}")
    assert store.migrate() == REVISIONS[0]
    store.close()
    assert is_ready(path)


def _made_by_the_first_release(path: Path) -> None:
    config = Config()
    config.set_main_option("script_location", "rabbitjobs.store:migrations")
    config.set_main_option("path_separator", "os")
    store = Store(f"sqlite:///{path}")

    def upgrade(connection: Connection) -> None:
        config.attributes["connection"] = connection
        command.upgrade(config, REVISIONS[0])

    store._transaction(store._writer, upgrade)
    store.close()


@pytest.mark.parametrize("version", ["9999", None])
def test_a_version_that_is_not_this_releases_is_not_ready(
    tmp_path: Path, version: str | None
) -> None:
    """A newer release's, or a version table without a row."""
    path = tmp_path / "store.db"
    assert is_ready(path)
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM rj_version")
    if version is not None:
        connection.execute("INSERT INTO rj_version VALUES (?)", (version,))
    connection.commit()
    connection.close()
    assert not is_ready(path)


def test_what_is_no_store_is_not_ready(tmp_path: Path) -> None:
    """Another kind of file, a folder, a place where no file can be."""
    (tmp_path / "text.db").write_bytes(b"this is no database" * 1000)
    assert not is_ready(tmp_path / "text.db")
    assert not is_ready(tmp_path)
    assert not is_ready(tmp_path / "text.db" / "below.db")


def test_a_fresh_store_is_private_and_durable(tmp_path: Path) -> None:
    """As one that the store itself makes."""
    path = tmp_path / "new" / "store.db"
    assert is_ready(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_many_at_once_make_one_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One makes the tables, the others find them."""
    # Eight at once on a busy machine: the last one may have to wait for longer than a glance.
    monkeypatch.setattr(sqlite_file, "_GLANCE_SECONDS", 60.0)
    path, together = tmp_path / "store.db", threading.Barrier(8)
    found: list[bool] = []

    def look() -> None:
        together.wait(60)
        found.append(is_ready(path))

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [True] * 8


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///a/b.db", "a/b.db"),
        ("sqlite:////a/b@c.db", "/a/b@c.db"),
        ("sqlite:///", None),
        ("sqlite://", None),
        ("sqlite:///:memory:", None),
        ("sqlite:///a.db?mode=ro", None),
        ("sqlite+pysqlite:///a.db", None),
        ("postgresql://host/a", None),
    ],
)
def test_a_plain_url_names_a_file_and_nothing_else(url: str, path: str | None) -> None:
    """The file is the one that the store would open; any other URL is the store's to read."""
    assert plain_path(url) == (None if path is None else Path(path))
    if path is not None:
        assert Store(url).url.database == path


def test_looking_at_a_store_does_not_import_sqlalchemy(tmp_path: Path) -> None:
    """That is what it is for."""
    code = (
        "import sys, pathlib; from rabbitjobs.store.sqlite_file import is_ready\n"
        "print(is_ready(pathlib.Path(sys.argv[1])), 'sqlalchemy' in sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "store.db")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "True False\n"
