"""What has been told already: by channel and failure id, in memory or in a store."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

from rabbitjobs.errors import StoreError

KEPT = 100_000
# A store that hangs must not silence the notifier: then something is told twice.
PATIENCE_SECONDS = 5.0
_log = logging.getLogger("rabbitjobs.notify")


class Memory(Protocol):
    """Remembers keys. May raise a ``StoreError``: then a failure may be told twice, never lost."""

    async def seen(self, key: str) -> bool:
        """Whether ``key`` was remembered before."""
        ...

    async def remember(self, keys: Sequence[str]) -> None:
        """Remember ``keys``; returning means that they are as durable as this memory is."""
        ...


class ProcessMemory:
    """Remembers the newest 100,000 keys for as long as the process lives."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._keys: OrderedDict[str, None] = OrderedDict()

    async def seen(self, key: str) -> bool:
        """Whether ``key`` is among the newest."""
        return key in self._keys

    async def remember(self, keys: Sequence[str]) -> None:
        """Keep ``keys``, and drop the oldest beyond the limit."""
        for key in keys:
            self._keys[key] = None
        while len(self._keys) > self._kept:
            self._keys.popitem(last=False)


class Layered:
    """A memory of this process in front of a durable one, if there is one; never raises.

    A durable one that does not answer is logged: then something may be told twice, never lost.
    """

    def __init__(self, durable: Memory | None = None) -> None:
        self._layers: tuple[Memory, ...] = (ProcessMemory(), *([durable] if durable else []))

    async def seen(self, key: str) -> bool:
        """Whether one of them remembers ``key``."""
        for layer in self._layers:
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    if await layer.seen(key):
                        return True
            except (StoreError, TimeoutError) as error:
                _log.warning("may be told twice: the store does not answer: %s", error)
        return False

    async def remember(self, keys: Sequence[str]) -> None:
        """Remember ``keys`` in both."""
        for layer in self._layers:
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await layer.remember(keys)
            except (StoreError, TimeoutError) as error:
                _log.warning("may be told twice: the store does not answer: %s", error)
