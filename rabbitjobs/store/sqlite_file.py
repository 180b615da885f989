"""A SQLite store as a file: where it is, who may read it, what every connection is told.

Without SQLAlchemy, whose import takes longer than all else that a worker does when it starts.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any, Final

from rabbitjobs.errors import StoreUnavailable
from rabbitjobs.store.fresh import REVISIONS, STATEMENTS, VERSION_TABLE

_GLANCE_SECONDS: Final = 1.0
_NAME = re.compile(r"[^\w.-]")
_PLAIN_URL = re.compile(r"sqlite:///([^?#%:]+)")
# Held until the descriptor of a new file is closed: see make_private_file.
_making = threading.Lock()


def _forked() -> None:
    global _making
    _making = threading.Lock()  # another thread of the parent may have held it


os.register_at_fork(after_in_child=_forked)


def default_url(namespace: str) -> str:
    """The URL of the SQLite file used when no store is configured: one for each namespace.

    It stands in the user's state folder (``XDG_STATE_HOME``, else ``~/.local/state``).
    """
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return f"sqlite:///{Path(state) / 'rabbitjobs' / (_NAME.sub('_', namespace) + '.db')}"


def plain_path(url: str) -> Path | None:
    """The file that a store URL names, if it is SQLite's and says nothing but the file."""
    match = _PLAIN_URL.fullmatch(url)
    return Path(match[1]) if match else None


def is_ready(path: Path) -> bool:
    """Whether the store in this file can be used as it is; one that is not there is made first.

    ``False`` where there is more to it (another schema, a lock, no right to write): what it is,
    ``Store.check`` says or mends.
    """
    try:
        make_private_file(path)
        with contextlib.closing(
            sqlite3.connect(path, timeout=_GLANCE_SECONDS, isolation_level=None)
        ) as connection:
            set_up(connection, _GLANCE_SECONDS)
            return _version(connection) == REVISIONS[-1]
    except (sqlite3.Error, StoreUnavailable):
        return False


def _version(connection: sqlite3.Connection) -> str | None:
    if not _is_empty(connection):
        found = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()
        return str(found[0]) if found else None
    connection.execute("BEGIN IMMEDIATE")
    if _is_empty(connection):  # another process may have made it meanwhile
        for statement in STATEMENTS:
            connection.execute(statement)
    connection.execute("COMMIT")
    return _version(connection)


def _is_empty(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None


def make_private_file(path: Path) -> None:
    """Payloads are nobody else's business: the file belongs to its user only.

    One that is there is never opened here: to close any descriptor of a file drops every POSIX lock
    that this process has on it, those of its SQLite connections too, and another process would then
    delete the write-ahead log under them (https://sqlite.org/howtocorrupt.html, section 2.2).
    Raises ``StoreUnavailable`` for a file that this process may not write.
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


def set_up(connection: Any, busy_seconds: float) -> None:
    """What every connection is told, for durability's sake; it waits that long for a lock."""
    connection.isolation_level = None  # the driver's own BEGIN would come too late
    _turn_wal_on(connection, time.monotonic() + busy_seconds)
    connection.execute(f"PRAGMA busy_timeout = {int(busy_seconds * 1000)}")
    # FULL, though NORMAL is faster: with WAL and NORMAL a commit may be lost at a power failure,
    # and a job is acked on the strength of its commit. Nothing confirmed is lost.
    connection.execute("PRAGMA synchronous = FULL")


def _turn_wal_on(connection: Any, deadline: float) -> None:
    """Several processes that open a new file at once: the switch to WAL does not wait by itself."""
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
