"""Holding concurrency keys in one process: claimed, renewed while jobs run, and given back."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from hashlib import sha256
from typing import Final, Protocol

from rabbitjobs import events
from rabbitjobs.clock import now
from rabbitjobs.consumer.context import Signal
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.store.slices import Ask, Slice

LEASE_SECONDS: Final = 30.0
RENEW_SECONDS: Final = 8.0
# Said this long before others may take the key.
WARNING_SECONDS: Final = 4.0
ANSWER_SECONDS: Final = 3.0


def shown(key: str) -> str:
    """A key as events may show it: arguments are in it, and those are nobody else's business."""
    return f"#{sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


class Sharing(Protocol):
    """What is shared by the store; see ``backend.shares.Shares``."""

    async def take(self, ask: Ask) -> Slice:
        """A slice of a rate."""
        ...

    async def hold(self, key: str, limit: int, job: tuple[str, int], token: str, s: float) -> bool:
        """Whether a job (id, attempt) holds its key now."""
        ...

    async def renew(self, key: str, job_id: str, token: str, seconds: float) -> bool:
        """Whether it still holds it."""
        ...

    async def free(self, job_id: str, token: str) -> None:
        """End a lease."""
        ...


class Hold:
    """One job's lease of its key; ``lost`` is set when others may have it."""

    __slots__ = ("envelope", "key", "lost", "token", "until")

    def __init__(self, key: str, envelope: Envelope, token: str, until: float) -> None:
        self.key = key
        self.envelope = envelope
        self.token = token
        self.until = until
        self.lost = Signal()


class Leases:
    """The leases of one queue's jobs in this process, on one event loop.

    ``freed`` is called with a key that became free here: others may wait for it.
    """

    def __init__(
        self,
        sharing: Sharing,
        *,
        bus: events.Bus,
        away: Callable[[str], None] = lambda _reason: None,
        freed: Callable[[str], None] = lambda _key: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sharing = sharing
        self._bus = bus
        self.freed = freed
        self._away = away
        self._reason = ""
        self._clock = clock
        self._held: dict[str, Hold] = {}
        self._renewing: asyncio.Task[None] | None = None
        self._freeing: set[asyncio.Task[None]] = set()

    def count(self, key: str) -> int:
        """How many of this process's jobs hold a key."""
        return sum(hold.key == key for hold in self._held.values())

    def away(self, reason: str) -> None:
        """Why the store gives no leases, so that no job with a key starts; "" when it does."""
        if bool(reason) != bool(self._reason):
            self._away(reason)
        self._reason = reason

    async def claim(self, key: str, limit: int, envelope: Envelope) -> Hold | None:
        """The lease, or ``None`` while others have it.

        Raises ``StoreError`` or ``TimeoutError`` when the store does not answer.
        """
        token, asked = uuid.uuid4().hex, self._clock()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                got = await self._sharing.hold(
                    key, limit, (envelope.id, envelope.attempt), token, LEASE_SECONDS
                )
        except (TimeoutError, asyncio.CancelledError):
            self._free_soon(envelope.id, token)  # it may be granted all the same
            raise
        if not got:
            return None
        hold = Hold(key, envelope, token, asked + LEASE_SECONDS)
        self._held[token] = hold
        if self._renewing is None:
            self._renewing = asyncio.get_running_loop().create_task(self._renew_for_ever())
        return hold

    def ended(self, hold: Hold, *, freed: bool) -> None:
        """Its job has ended; ``freed``: its record has ended the lease in the same transaction."""
        if self._held.pop(hold.token, None) is None:
            return
        if freed:
            self.freed(hold.key)
        else:
            self._free_soon(hold.envelope.id, hold.token, hold.key)

    def leave(self, hold: Hold) -> None:
        """Its job is left to the broker and may still run here: the lease ends by itself."""
        self._held.pop(hold.token, None)

    async def close(self) -> None:
        """Renew nothing more; what was given back is waited for, for a moment."""
        if self._renewing is not None:
            self._renewing.cancel()
            self._renewing = None
        if self._freeing:
            await asyncio.wait(self._freeing, timeout=ANSWER_SECONDS)

    def _free_soon(self, job_id: str, token: str, key: str | None = None) -> None:
        task = asyncio.get_running_loop().create_task(self._free(job_id, token, key))
        self._freeing.add(task)
        task.add_done_callback(self._freeing.discard)

    async def _free(self, job_id: str, token: str, key: str | None) -> None:
        try:
            await self._sharing.free(job_id, token)
        except Exception:  # whatever it is: the lease ends when its time is over
            return
        if key is not None:
            self.freed(key)

    async def _renew_for_ever(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            await self.renew()

    async def renew(self) -> None:
        """Renew all that is held; called every ``RENEW_SECONDS``."""
        await asyncio.gather(*(self._renew(hold) for hold in tuple(self._held.values())))

    async def _renew(self, hold: Hold) -> None:
        asked = self._clock()
        still = True
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                still = await self._sharing.renew(
                    hold.key, hold.envelope.id, hold.token, LEASE_SECONDS
                )
            if still:
                hold.until = asked + LEASE_SECONDS
        except Exception:  # whatever it is: this must not end the renewing of the others
            # Others may take it once its time is over: said before that, and tried again.
            next_look = self._clock() + RENEW_SECONDS + ANSWER_SECONDS
            still = next_look + WARNING_SECONDS < hold.until
        if not still and hold.token in self._held and not hold.lost:
            self._lose(hold)

    def _lose(self, hold: Hold) -> None:
        hold.lost.set()
        one = hold.envelope
        self._bus.emit(
            events.LeaseLost(
                at=now(),
                job_id=one.id,
                job=one.job,
                queue=one.queue,
                attempt=one.attempt,
                key=shown(hold.key),
            )
        )
