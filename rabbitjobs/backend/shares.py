"""What the processes of a fleet share by the store: slices of rates, leases of keys."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rabbitjobs.store.slices import Ask, Slice
from rabbitjobs.store.text import storable

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from rabbitjobs.store.engine import Store
    from rabbitjobs.store.leases import Claim


class Shares:
    """Asks the store, which ``open_store`` opens at the first question, beside the event loop.

    Many questions at a time share one transaction. Every method raises ``StoreError`` when there
    is no answer: then nothing was granted.
    """

    def __init__(self, open_store: Callable[[], Store]) -> None:
        self._open_store = open_store
        self._opened: Store | None = None

    async def take(self, ask: Ask) -> Slice:
        """A slice of a rate."""
        return await (await self._store()).awrite(self._take, ask)

    async def hold(self, key: str, limit: int, job: tuple[str, int], token: str, s: float) -> bool:
        """Whether a job (id, attempt) holds its key now, which ``limit`` jobs may, for ``s``
        seconds."""
        store = await self._store()
        return await store.awrite(self._claim, _claim_of(key, limit, job, token, s))

    async def renew(self, key: str, job_id: str, token: str, seconds: float) -> bool:
        """Whether it still holds it, and for so many seconds more."""
        store = await self._store()
        return await store.awrite(self._renew, _claim_of(key, 1, (job_id, 0), token, seconds))

    async def free(self, job_id: str, token: str) -> None:
        """End a lease; nothing happens to one that was taken over."""
        await (await self._store()).awrite(self._free, (storable(job_id), token))

    async def _store(self) -> Store:
        if self._opened is None:
            self._opened = await asyncio.to_thread(self._open)
        return self._opened

    def _open(self) -> Store:
        import rabbitjobs.store.leases
        import rabbitjobs.store.rates  # noqa: F401  # imported here, where nobody waits for it

        return self._open_store()

    # --- bulk work, called by the store's thread ------------------------------------------------

    def _take(self, connection: Connection, asks: Sequence[Ask]) -> list[Slice]:
        from rabbitjobs.store import rates

        return rates.take(connection, self._namespace, asks)

    def _claim(self, connection: Connection, claims: Sequence[Claim]) -> list[bool]:
        from rabbitjobs.store import leases

        return leases.claim(connection, self._namespace, claims)

    def _renew(self, connection: Connection, claims: Sequence[Claim]) -> list[bool]:
        from rabbitjobs.store import leases

        return leases.renew(connection, self._namespace, claims)

    def _free(self, connection: Connection, tokens: Sequence[tuple[str, str]]) -> list[None]:
        from rabbitjobs.store import leases

        leases.free(connection, self._namespace, tokens)
        return [None] * len(tokens)

    @property
    def _namespace(self) -> str:
        assert self._opened is not None
        return self._opened.namespace


def _claim_of(key: str, limit: int, job: tuple[str, int], token: str, seconds: float) -> Claim:
    from rabbitjobs.store.leases import Claim

    return Claim(
        key=storable(key),
        limit=limit,
        job_id=storable(job[0]),
        attempt=job[1],
        token=token,
        seconds=seconds,
    )
