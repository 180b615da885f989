"""The notifier's memory in the store."""

from __future__ import annotations

import asyncio

from rabbitjobs.backend.sql import SqlBackend
from rabbitjobs.backend.sweep import TOLD_KEPT_SECONDS
from rabbitjobs.clock import now, uuid7
from rabbitjobs.notify.durable import StoreMemory
from rabbitjobs.store.engine import Store


async def test_what_was_told_is_known_to_the_next_notifier(store: Store, store_url: str) -> None:
    """By channel and failure, in this namespace only; remembering twice is harmless."""
    memory = StoreMemory(store)
    assert not await memory.seen("mail:1:1")
    await asyncio.gather(memory.remember(["mail:1:1", "mail:2:1"]), memory.remember(["mail:1:1"]))
    assert await asyncio.gather(*map(memory.seen, ("mail:1:1", "log:1:1", "mail:2:1"))) == [
        True,
        False,
        True,
    ]
    other = Store(store_url, namespace=uuid7())
    assert not await StoreMemory(other).seen("mail:1:1")
    await asyncio.to_thread(other.close)


async def test_a_key_that_no_database_takes_is_remembered(store: Store) -> None:
    """A stranger's job id may hold anything."""
    memory = StoreMemory(store)
    await memory.remember(["mail:a\0b\ud800:1"])
    assert await memory.seen("mail:a\0b\ud800:1")


async def test_what_was_told_long_ago_is_forgotten(store: Store) -> None:
    """The table stays small."""
    memory, backend = StoreMemory(store), SqlBackend(store)
    await memory.remember(["mail:1:1"])
    assert (await asyncio.to_thread(backend.clean, now())).told == 0
    later = now() + TOLD_KEPT_SECONDS + 1
    # Of every namespace: others may have left theirs in this database.
    assert (await asyncio.to_thread(backend.clean, later)).told >= 1
    assert not await memory.seen("mail:1:1")
