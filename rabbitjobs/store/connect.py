"""Where a store is: URLs, what each database is told on connecting, and its errors in our words."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from rabbitjobs.errors import StoreError, StoreOutdated, StoreUnavailable
from rabbitjobs.store.url import SQLITE, check_url, no_url

BUSY_SECONDS = 10
CONNECT_SECONDS = 5
MIGRATE_COMMAND = "rabbitjobs store migrate"

# Held until the descriptor of a new file is closed: see _make_private_file.
_making = threading.Lock()


def _forked() -> None:
    global _making
    _making = threading.Lock()  # another thread of the parent may have held it


os.register_at_fork(after_in_child=_forked)
_NAME = re.compile(r"[^\w.-]")
_NO_TABLE = ("no such table", "no such column", "UndefinedTable", "UndefinedColumn")


def default_url(namespace: str) -> str:
    """The URL of the SQLite file used when no store is configured: one for each namespace.

    It stands in the user's state folder (``XDG_STATE_HOME``, else ``~/.local/state``).
    """
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return f"sqlite:///{Path(state) / 'rabbitjobs' / (_NAME.sub('_', namespace) + '.db')}"


def parse_url(text: str) -> URL:
    """Read a store URL: ``sqlite:///path`` or ``postgresql://user:password@host/database``.

    Raises ``StoreError`` for anything else, an in-memory SQLite included: it would be a database
    of its own for every thread.
    """
    check_url(text)
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):  # the texts of both quote the URL
        raise no_url() from None
    return url.set(drivername="sqlite" if url.drivername in SQLITE else "postgresql+psycopg")


def masked(url: URL) -> str:
    """The URL as it may be shown: without its password, wherever that stands."""
    hidden = {key: "***" if "password" in key else value for key, value in url.query.items()}
    return url.set(query=hidden).render_as_string(hide_password=True)


def open_engine(url: URL, *, writer: bool) -> Engine:
    """An engine whose connections are set up as reliability asks. Nothing is connected yet."""
    if url.get_backend_name() == "sqlite":
        return _open_sqlite(url, writer=writer)
    return _open_postgres(url)


def _open_sqlite(url: URL, *, writer: bool) -> Engine:
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False})
    path = Path(str(url.database))
    event.listen(engine, "do_connect", lambda *_: _make_private_file(path))
    event.listen(engine, "connect", _set_up_sqlite)
    # A deferred transaction that reads and then writes fails when another process wrote between.
    begin = "BEGIN IMMEDIATE" if writer else "BEGIN"
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


def _make_private_file(path: Path) -> None:
    """Payloads are nobody else's business: the file belongs to its user only.

    One that is there is never opened here: to close any descriptor of a file drops every POSIX lock
    that this process has on it, those of its SQLite connections too, and another process would then
    delete the write-ahead log under them (https://sqlite.org/howtocorrupt.html, section 2.2).
    """
    try:
        with _making:
            if not path.exists():
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                with contextlib.suppress(FileExistsError):
                    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        if not os.access(path, os.R_OK | os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise StoreUnavailable(
            f"expected a writable SQLite file at {path}, got: {error.strerror}; "
            "correct store.url or the folder's rights"
        ) from error


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver's own BEGIN would come too late
    _turn_wal_on(connection)
    connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
    # FULL, though NORMAL is faster: with WAL and NORMAL a commit may be lost at a power failure,
    # and a job is acked on the strength of its commit. Nothing confirmed is lost.
    connection.execute("PRAGMA synchronous = FULL")


def _turn_wal_on(connection: Any) -> None:
    """Several processes that open a new file at once: the switch to WAL does not wait by itself."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _open_postgres(url: URL) -> Engine:
    try:
        engine = create_engine(
            url,
            isolation_level="READ COMMITTED",
            pool_size=2,
            max_overflow=8,
            pool_timeout=BUSY_SECONDS,
            connect_args={
                "connect_timeout": CONNECT_SECONDS,
                "application_name": "rabbitjobs",
                "keepalives_idle": 10,
                "keepalives_interval": 5,
                "keepalives_count": 3,
                "tcp_user_timeout": 20_000,
            },
        )
    except ModuleNotFoundError as error:
        raise StoreError(
            "expected the PostgreSQL driver psycopg 3, got none; run: "
            "pip install 'rabbitjobs[postgres]'"
        ) from error
    event.listen(engine, "connect", _set_up_postgres)
    return engine


def _set_up_postgres(connection: Any, _record: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '10s'")
        # An "off" set for the whole server would ack jobs whose outcome a crash then loses.
        cursor.execute(
            "SELECT set_config('synchronous_commit', 'on', false)"
            " WHERE current_setting('synchronous_commit') IN ('off', 'local')"
        )
    connection.commit()


def translate(error: Exception, where: str) -> Exception:
    """A database's error in our words, or the error itself when it is about one statement's data.

    ``StoreUnavailable``: locked, full, gone. ``StoreOutdated``: a table or column is missing.
    """
    if isinstance(error, PoolTimeout):
        return StoreUnavailable(f"expected a free connection to {where} within {BUSY_SECONDS} s")
    if not isinstance(error, DBAPIError):
        return error
    if isinstance(error, OperationalError | ProgrammingError) and _misses_a_table(error):
        return StoreOutdated(
            f"expected the tables of this release in {where}, got: {_first_line(error)}; "
            f"run: {MIGRATE_COMMAND}"
        )
    if not _is_about_data(error) or error.connection_invalidated:
        return StoreUnavailable(
            f"expected a store that takes writes at {where}, got: {_first_line(error)}"
        )
    return error


def _is_about_data(error: DBAPIError) -> bool:
    if isinstance(error, ProgrammingError):
        return "InsufficientPrivilege" not in type(error.orig).__name__
    return isinstance(error, IntegrityError | DataError | NotSupportedError)


def raise_translated(error: Exception, where: str) -> NoReturn:
    """Raise what ``translate`` makes of an error."""
    known = translate(error, where)
    if known is error:
        raise error
    raise known from error


def _misses_a_table(error: DBAPIError) -> bool:
    text = f"{type(error.orig).__name__} {error.orig}"
    return any(sign in text for sign in _NO_TABLE)


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).strip().split("\n", 1)[0]
