"""The store: one SQL database, one writer thread with group commits, plain reads beside it."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine

from rabbitjobs.errors import StoreMissing
from rabbitjobs.store import migrate as migration
from rabbitjobs.store.connect import (
    MIGRATE_COMMAND,
    masked,
    open_engine,
    parse_url,
    raise_translated,
)
from rabbitjobs.store.fresh import REVISIONS
from rabbitjobs.store.lane import Item, Lane
from rabbitjobs.store.statement import Row, select
from rabbitjobs.store.writer import Writer

T = TypeVar("T")
Given = TypeVar("Given")
R = TypeVar("R")
Bulk = Callable[[Connection, Sequence[Given]], Sequence[R]]


# How often this process's line was forked: a system call for each look-up would cost more.
_forks = 0


def _forked() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_forked)


class Store:
    """The store as one app sees it: a database URL and the app's namespace.

    Safe to share between threads, and after a fork (the child opens connections of its own; what
    waited in the parent stays the parent's). Nothing is connected before the first use. A SQLite
    file is made and migrated by itself; PostgreSQL must have been migrated.

    Every method raises ``StoreUnavailable`` when the database cannot be reached, is locked or full
    (then nothing was written, unless the connection broke during the commit itself: writes must be
    harmless when repeated), and ``StoreOutdated`` when its schema is not this release's.
    """

    def __init__(self, url: str, *, namespace: str = "default") -> None:
        self.url = parse_url(url)
        self.namespace = namespace
        self._open()

    def __repr__(self) -> str:
        return f"Store({self.where!r}, namespace={self.namespace!r})"

    @property
    def where(self) -> str:
        """The URL without its password, for texts."""
        return masked(self.url)

    @property
    def one_machine(self) -> bool:
        """Whether this store serves the processes of one machine only (SQLite)."""
        return self.url.get_backend_name() == "sqlite"

    def must_exist(self) -> None:
        """For those who only look: raise ``StoreMissing`` rather than make a SQLite file."""
        if self.one_machine and not Path(str(self.url.database)).is_file():
            raise StoreMissing(
                f"expected a store at {self.where}, got no such file; correct store.url, or make "
                f"one: {MIGRATE_COMMAND}"
            )

    # --- writing ---------------------------------------------------------------------------

    def submit(self, fn: Callable[[Connection], T]) -> Future[T]:
        """Run ``fn`` in a transaction that it shares with everything else that waits.

        An exception in ``fn`` is its future's and nobody else's. ``fn`` may run twice, when a
        neighbour failed and the batch was rolled back: it must have no effect but its SQL.
        """
        return self._queue(None, fn)

    def run(self, fn: Callable[[Connection], T]) -> T:
        """``submit`` and wait for the commit."""
        return self.submit(fn).result()

    async def arun(self, fn: Callable[[Connection], T]) -> T:
        """The a-twin of ``run``: the event loop is free until the commit."""
        result: T = await self._aqueue(self._mine()._writing, None, fn)
        return result

    def write(self, bulk: Bulk[Given, R], item: Given) -> Future[R]:
        """Like ``submit``, for work that is cheaper in bulk: one call for all items that wait.

        ``bulk(connection, items)`` returns a result for each item, in order.
        """
        return self._queue(bulk, item)

    async def awrite(self, bulk: Bulk[Given, R], item: Given) -> R:
        """The a-twin of ``write``."""
        result: R = await self._aqueue(self._mine()._writing, bulk, item)
        return result

    def write_behind(self, bulk: Bulk[Given, Any], key: Hashable, item: Given) -> None:
        """Write an item soon, with nobody waiting; lost if the process ends first.

        A newer item under the same key replaces it, ``forget(key)`` drops it.
        """
        self._mine()._writing.put_behind(key, Item(bulk, item, None))

    def forget(self, key: Hashable) -> None:
        """Drop what ``write_behind`` has not written yet under this key."""
        self._mine()._writing.forget(key)

    # --- reading ---------------------------------------------------------------------------

    def read(self, fn: Callable[[Connection], T]) -> T:
        """Run ``fn`` on a connection of its own, in the calling thread."""
        store = self._mine()
        store._prepare()
        return self._transaction(store._reader, fn)

    def select(self, statement: str, values: Row = ()) -> list[Any]:
        """The rows of one SELECT, in the calling thread: for those who look again and again."""
        store = self._mine()
        store._prepare()
        try:
            return select(store._reader, statement, values)
        except Exception as error:
            raise_translated(error, self.where)

    async def aread(self, fn: Callable[[Connection], T]) -> T:
        """The a-twin of ``read``: runs in a thread."""
        return await asyncio.to_thread(self.read, fn)

    async def afetch(self, bulk: Bulk[Given, R], item: Given) -> R:
        """Read in bulk: one call of ``bulk`` for everything that waits, as ``awrite`` does."""
        result: R = await self._aqueue(self._mine()._reading, bulk, item)
        return result

    # --- schema ----------------------------------------------------------------------------

    def version(self) -> str | None:
        """The revision of the schema in the database; ``None`` for an empty one."""
        return self._transaction(self._mine()._reader, migration.read_version)

    def migrate(self) -> str | None:
        """Bring the schema to this release's; returns the revision found before."""
        store = self._mine()
        with store._preparing:  # alembic keeps its state in a module: one thread at a time
            found = self._transaction(
                store._writer, lambda connection: migration.migrate(connection, self.where)
            )
            store._prepared = True
        return found

    def check(self) -> None:
        """Raise ``StoreUnavailable`` or ``StoreOutdated`` if the store cannot be used."""
        store = self._mine()
        store._prepare()
        migration.check_version(self.version(), self.where)

    def close(self, timeout: float | None = 30.0) -> None:
        """Write what waits and let the database go; the store cannot be used afterwards."""
        if self._forks == _forks:
            # A connection in the middle of a statement that hangs would hold up its close too.
            if self._writing.close(timeout):
                self._work.close()
                self._writer.dispose()
            if self._reading.close(timeout):
                self._fetches.close()
                self._reader.dispose()

    # --- inside ----------------------------------------------------------------------------

    def _open(self) -> None:
        self._forks = _forks
        self._prepared = False
        self._preparing = threading.RLock()
        self._writer: Engine = open_engine(self.url, writer=True)
        self._reader: Engine = open_engine(self.url, writer=False)
        self._work = Writer(self._writer, self.where, self._prepare)
        self._fetches = Writer(self._reader, self.where, self._prepare)
        self._writing = Lane("rabbitjobs-store", self._work)
        self._reading = Lane("rabbitjobs-store-reads", self._fetches)

    def _mine(self) -> Store:
        """This store in this process: a fork shares neither threads nor connections."""
        if self._forks != _forks:
            self._writer.dispose(close=False)
            self._reader.dispose(close=False)
            self._open()
        return self

    def _prepare(self) -> None:
        """Once: see that the schema is this release's, making a SQLite's so."""
        with self._preparing:
            if self._prepared:
                return
            version = self.version()
            if version != REVISIONS[-1] and self.one_machine:
                self.migrate()
            else:
                migration.check_version(version, self.where)
            self._prepared = True

    def _transaction(self, engine: Engine, fn: Callable[[Connection], T]) -> T:
        try:
            with engine.begin() as connection:
                return fn(connection)
        except Exception as error:
            raise_translated(error, self.where)

    def _queue(self, bulk: Any, value: Any) -> Future[Any]:
        waiter: Future[Any] = Future()
        self._mine()._writing.put(Item(bulk, value, waiter))
        return waiter

    async def _aqueue(self, lane: Lane, bulk: Any, value: Any) -> Any:
        waiter = asyncio.get_running_loop().create_future()
        lane.put(Item(bulk, value, waiter))
        return await waiter
