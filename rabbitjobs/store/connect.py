"""Where a store is: URLs, what each database is told on connecting, and its errors in our words."""

from __future__ import annotations

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
from rabbitjobs.store.sqlite_file import make_private_file, set_up
from rabbitjobs.store.statement import run
from rabbitjobs.store.url import SQLITE, check_url, no_url

BUSY_SECONDS = 10
CONNECT_SECONDS = 5
MIGRATE_COMMAND = "rabbitjobs store migrate"

_NO_TABLE = ("no such table", "no such column", "UndefinedTable", "UndefinedColumn")


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
    event.listen(engine, "do_connect", lambda *_: make_private_file(path))
    event.listen(engine, "connect", lambda connection, _: set_up(connection, BUSY_SECONDS))
    # A deferred transaction that reads and then writes fails when another process wrote between.
    begin = "BEGIN IMMEDIATE" if writer else "BEGIN"
    event.listen(engine, "begin", lambda connection: run(connection, begin))
    return engine


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
