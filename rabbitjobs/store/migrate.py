"""One chain of migrations (alembic), run by one command, safe when several processes run it."""

from __future__ import annotations

import os
import threading

from sqlalchemy import Connection, inspect, text

from rabbitjobs.errors import StoreOutdated
from rabbitjobs.store.connect import MIGRATE_COMMAND
from rabbitjobs.store.fresh import REVISIONS, STATEMENTS, VERSION_TABLE

# Any fixed number serves, as long as every release takes the same one.
_ADVISORY_LOCK = 0x7261626A
# Alembic's ``op`` and ``context`` are of the whole process: two stores migrated by two threads at
# once would take each other's connection.
_one_at_a_time = threading.Lock()


def _forked() -> None:
    global _one_at_a_time
    _one_at_a_time = threading.Lock()  # another thread of the parent may have held it


os.register_at_fork(after_in_child=_forked)


def read_version(connection: Connection) -> str | None:
    """The revision of the store's schema; ``None`` for a database without our tables."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    value = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    return None if value is None else str(value)


def check_version(version: str | None, where: str) -> None:
    """Raise ``StoreOutdated`` unless the schema is exactly this release's."""
    if version == REVISIONS[-1]:
        return
    if version is None or version in REVISIONS:
        raise StoreOutdated(
            f"expected schema {REVISIONS[-1]} in {where}, got {version or 'an empty database'}; "
            f"run: {MIGRATE_COMMAND}"
        )
    raise StoreOutdated(
        f"expected schema {REVISIONS[-1]} in {where}, got {version}, which a newer release made; "
        "run: pip install --upgrade rabbitjobs"
    )


def migrate(connection: Connection, where: str) -> str | None:
    """Bring the schema to this release's inside the caller's transaction.

    Returns the revision found (``None``: an empty database). The lock makes a second process wait
    and then find nothing to do: PostgreSQL's advisory lock here, SQLite's own write lock, which
    ``BEGIN IMMEDIATE`` of the caller took. Raises ``StoreOutdated`` for a newer schema.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
    found = read_version(connection)
    if found == REVISIONS[-1]:
        return found
    if found is not None and found not in REVISIONS:
        check_version(found, where)
    if connection.dialect.name == "sqlite" and not inspect(connection).get_table_names():
        for statement in STATEMENTS:
            connection.exec_driver_sql(statement)
    else:
        _run_alembic(connection)
    return found


def _run_alembic(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "rabbitjobs.store:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    with _one_at_a_time:
        command.upgrade(config, "head")
