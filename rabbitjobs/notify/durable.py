"""A memory of what has been told that outlives the notifier: in the store."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from rabbitjobs.clock import now
from rabbitjobs.store import bulk
from rabbitjobs.store.engine import Store
from rabbitjobs.store.text import storable

_COLUMNS = bulk.Columns("rj_told", ("namespace", "key", "at"), ("text", "text", "float8"))


class StoreMemory:
    """Implements ``Memory`` on a ``Store``; rows go when no redelivery can come any more."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def seen(self, key: str) -> bool:
        """Whether ``key`` was remembered, by this process or another; many at once are one read."""
        return await self._store.afetch(self._fetch, storable(key))

    async def remember(self, keys: Sequence[str]) -> None:
        """Commit ``keys``."""
        await self._store.awrite(self._write, tuple(storable(key) for key in keys))

    def _fetch(self, connection: Connection, keys: Sequence[str]) -> list[bool]:
        rows = [(self._store.namespace, key) for key in keys]
        known = bulk.existing(connection, _COLUMNS, rows, key=2)
        return [row in known for row in rows]

    def _write(self, connection: Connection, many: Sequence[tuple[str, ...]]) -> list[None]:
        at = now()
        keys = sorted({key for keys in many for key in keys})
        rows = [(self._store.namespace, key, at) for key in keys]
        bulk.insert(connection, _COLUMNS, rows, "ON CONFLICT DO NOTHING")
        return [None] * len(many)
