"""A store that is shared, in memory: what two processes' gates and leases ask."""

from __future__ import annotations

import asyncio

from rabbitjobs.errors import StoreUnavailable
from rabbitjobs.store.slices import Ask, Line, Slice, share


class Shared:
    """Answers at once by its own clock, unless it is down or silent."""

    def __init__(self) -> None:
        self.time = 0.0
        self.down = False
        self.silent = False
        self.lines: dict[str, Line | None] = {}
        self.leases: dict[str, dict[str, tuple[int, str]]] = {}
        self.asks: list[Ask] = []
        self.asked_at: list[float] = []
        self.renewals = 0

    async def _answer(self) -> None:
        if self.silent:
            await asyncio.Event().wait()
        if self.down:
            raise StoreUnavailable("the store is down")

    async def take(self, ask: Ask) -> Slice:
        """See ``Sharing``."""
        await self._answer()
        self.asks.append(ask)
        self.asked_at.append(self.time)
        self.lines[ask.key], taken = share(self.lines.get(ask.key), ask, self.time)
        return taken

    async def hold(self, key: str, limit: int, job: tuple[str, int], token: str, s: float) -> bool:
        """See ``Sharing``; a lease here ends only when it is freed."""
        await self._answer()
        assert s > 0
        held = self.leases.setdefault(key, {})
        if job[0] not in held and len(held) >= limit:
            return False
        held[job[0]] = (job[1], token)
        return True

    async def renew(self, key: str, job_id: str, token: str, seconds: float) -> bool:
        """See ``Sharing``."""
        await self._answer()
        assert seconds > 0
        self.renewals += 1
        return self.leases.get(key, {}).get(job_id, (0, ""))[1] == token

    async def free(self, job_id: str, token: str) -> None:
        """See ``Sharing``."""
        await self._answer()
        for held in self.leases.values():
            if held.get(job_id, (0, ""))[1] == token:
                del held[job_id]

    @property
    def holders(self) -> list[str]:
        """Everybody who holds a key."""
        return [job for held in self.leases.values() for job in held]
