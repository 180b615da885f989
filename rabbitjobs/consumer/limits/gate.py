"""Where jobs with a rate or a concurrency key wait for it, before they take a slot: briefly.

What waits here is unacked, and counts towards the prefetch. So a job stays for a moment only; then
it is put off: published to the delay ladder, and acked.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from bisect import insort
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Final, Protocol

from rabbitjobs.clock import now
from rabbitjobs.consumer.failure import failure_of
from rabbitjobs.consumer.limits.keys import key_of
from rabbitjobs.consumer.limits.leases import Hold, Leases, shown
from rabbitjobs.consumer.limits.limiter import Limiter
from rabbitjobs.consumer.limits.parked import Admission, Parked
from rabbitjobs.consumer.limits.waiting import away
from rabbitjobs.job.definition import Definition
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.policy.decision import Failure
from rabbitjobs.topology.model import NEUTRAL_PRIORITY
from rabbitjobs.wire.subscription import Handed

# So long a job waits here while there is a slot for it; with the publish that follows, no job that
# is over its rate is unacked for more than five seconds.
PATIENCE_SECONDS: Final = 2.5
PLACE_SECONDS: Final = 1.0
# A key that others hold is asked for again after this.
KEY_SECONDS: Final = 0.5


class Doors(Protocol):
    """What the gate needs of the consumer behind it."""

    slots: int

    def free_slots(self) -> int:
        """How many jobs could start now."""
        ...

    def admit(self, envelope: Envelope, handed: Handed, admission: Admission) -> None:
        """Start a job; only while a slot is free."""
        ...

    def dismiss(self, envelope: Envelope, handed: Handed, work: Awaitable[None]) -> None:
        """Carry ``work`` out, which puts a job off, without a slot; then ack its message."""
        ...


PutOff = Callable[[Envelope, float, str], Awaitable[None]]


class Gate:
    """Lets the jobs of one queue in as their rates and keys allow.

    ``definition_of`` knows the jobs, ``limits_of`` the rates of one. ``put_off`` publishes a job
    anew with a delay. ``room`` says how many jobs wait here beside so many slots: where more do
    while slots are free, the youngest make way for others.
    """

    def __init__(
        self,
        *,
        definition_of: Callable[[str], Definition | None],
        limits_of: Callable[[Definition | None], tuple[Limiter, ...]],
        leases: Leases | None,
        put_off: PutOff,
        limiters: Callable[[], Iterable[Limiter]],
        room: Callable[[int], int],
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.room = room
        self.leases = leases
        self._definition_of = definition_of
        self._limits_of = limits_of
        self._put_off = put_off
        self._limiters = limiters
        self._clock = clock
        self._chance = chance
        self._doors: Doors | None = None
        self._parked: list[Parked] = []
        self._held: dict[Parked, Hold] = {}
        self._failed: dict[Parked, Failure] = {}
        self._ids: set[tuple[str, int]] = set()
        self._rests: dict[str, float] = {}
        self._asked: Counter[str] = Counter()
        self._numbers = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._soon = False
        if leases is not None:
            leases.freed = self._key_is_free

    def open(self, doors: Doors) -> None:
        """Begin; call it on the loop that the jobs run on."""
        self._doors = doors
        self._loop = asyncio.get_running_loop()

    def __len__(self) -> int:
        return len(self._parked)

    def take(self, envelope: Envelope, handed: Handed) -> bool:
        """Let a message wait here; ``False``: nothing limits it, or it will not run now."""
        definition = self._definition_of(envelope.job)
        limits = self._limits_of(definition)
        if not limits and (definition is None or definition.concurrency is None):
            return False
        if envelope.expires is not None and envelope.expires <= now():
            return False
        if definition is not None and definition.needs_approval and envelope.release is None:
            return False  # it goes to the desk
        # As the broker would: the higher priority, then the older. Who was put off comes back older
        # than what is new, so nobody starves.
        priority = NEUTRAL_PRIORITY if envelope.priority is None else envelope.priority
        order = (-priority, envelope.enqueued, next(self._numbers))
        one = Parked(envelope, handed, definition, limits, order, self._clock())
        double = (envelope.id, envelope.attempt) in self._ids
        insort(self._parked, one)
        if double:  # the later finds the record of the other one
            self._dismiss(one, "two messages of one attempt")
            return True
        self._ids.add((envelope.id, envelope.attempt))
        self.look()
        return True

    def look(self) -> None:
        """Something has changed; one look, soon, however often it is called."""
        if not self._soon and self._parked:
            self._soon = True
            self._loop.call_soon(self._look)

    def look_now(self) -> None:
        """A slot is free at this moment, and others wait for it too."""
        if self._parked:
            self._look()

    def empty(self) -> list[tuple[Envelope, Handed]]:
        """Take out everything that waits: it is lost, or goes back to the queue."""
        if self._timer is not None:
            self._timer.cancel()
        return self.withdraw(lambda _envelope: True)

    def withdraw(self, meant: Callable[[Envelope], bool]) -> list[tuple[Envelope, Handed]]:
        """Take out those that ``meant`` names: they need no limit any more."""
        found = [one for one in self._parked if meant(one.envelope)]
        for one in found:
            self._remove(one, ended=True)
        return [(one.envelope, one.handed) for one in found]

    def waiting(self) -> tuple[Envelope, ...]:
        """What waits here; from any thread."""
        return tuple(one.envelope for one in tuple(self._parked))

    def ended(self, admission: Admission) -> None:
        """A job that was let in has ended, or never began: its key comes free."""
        if admission.hold is not None and self.leases is not None:
            self.leases.ended(admission.hold, freed=admission.freed)

    def left(self, admission: Admission) -> None:
        """A job is abandoned, and may go on here for a while, on a thread: its key is not free."""
        if admission.hold is not None and self.leases is not None:
            self.leases.leave(admission.hold)

    async def close(self) -> None:
        """End what asks the store; jobs that still run keep their leases until those are over."""
        for limiter in self._limiters():
            limiter.close()
        if self.leases is not None:
            await self.leases.close()

    # --- one look -------------------------------------------------------------------------------

    def _look(self) -> None:
        self._soon = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._doors is None:
            return
        slots = self._doors.free_slots()
        wanting: Counter[tuple[Limiter, ...]] = Counter()
        for one in tuple(self._parked):
            if slots <= 0:
                return  # the next slot that comes free looks again
            if one.limits in wanting and not one.keyed:  # as those before it
                wanting[one.limits] += 1
            elif self._has_key(one, slots):
                if all(limiter.ready() for limiter in one.limits):
                    self._admit(one)
                    slots -= 1
                else:
                    wanting[one.limits] += 1
        for limits, count in wanting.items():
            for limiter in limits:
                limiter.want(count, slots)
        self._dismiss_some(self.room(self._doors.slots))
        if not self._parked:
            self._rests.clear()
            self._asked = +self._asked
        else:
            self._timer = self._loop.call_later(max(min(self._moments()), 0.001), self.look)

    def _admit(self, one: Parked) -> None:
        for limiter in one.limits:
            limiter.start()
        admission = Admission(self._held.get(one), self._failed.get(one))
        self._remove(one, ended=False)
        assert self._doors is not None
        self._doors.admit(one.envelope, one.handed, admission)

    def _dismiss_some(self, room: int) -> None:
        """Put off who has waited too long, and the youngest that keep others from the slots."""
        limit = self._clock() - PATIENCE_SECONDS
        late = [one for one in self._parked if one.since <= limit]
        many = len(self._parked) - len(late) - room
        if many > 0:
            young = (one for one in reversed(self._parked) if one.since > limit and self._over(one))
            late += itertools.islice(young, many)
        for one in late:
            self._dismiss(one)

    def _over(self, one: Parked) -> bool:
        """Whether it is known to wait for a limit that is not the whole queue's: others could run
        meanwhile. Those for which the answer is still out may start in a moment.
        """
        if self._lacks_key(one):
            return one.key is not None and (one.key in self._rests or self._taken_here(one))
        waits = (limiter for limiter in one.limits if limiter.of_job and not limiter.ready())
        return any(limiter.next_in() for limiter in waits)

    def _dismiss(self, one: Parked, why: str = "") -> None:
        limiter: Limiter | None = None
        if self._lacks_key(one):
            why = why or f"key {shown(one.key or '')} of job {one.envelope.job}"
        else:
            limiter = next((each for each in one.limits if not each.ready()), None)
            why = why or (limiter.what if limiter is not None else "slots")
        self._remove(one, ended=True)
        assert self._doors is not None
        self._doors.dismiss(one.envelope, one.handed, self._go(one.envelope, limiter, why))

    async def _go(self, envelope: Envelope, limiter: Limiter | None, what: str) -> None:
        place: float | None = None
        if limiter is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PLACE_SECONDS):
                    place = await limiter.place()
        await self._put_off(envelope, away(envelope.waits, place, self._chance), what)

    def _remove(self, one: Parked, *, ended: bool) -> None:
        self._parked.remove(one)
        self._ids.discard((one.envelope.id, one.envelope.attempt))
        self._failed.pop(one, None)
        hold = self._held.pop(one, None)
        if one.asking is not None:
            one.asking.cancel()
        if ended and hold is not None and self.leases is not None:
            self.leases.ended(hold, freed=False)

    # --- keys -----------------------------------------------------------------------------------

    def _has_key(self, one: Parked, slots: int) -> bool:
        """Whether it holds its key, or needs none; else it is asked for, if now is the time.

        Never more keys than there are ``slots``: others could run the jobs of those meanwhile.
        """
        if not self._lacks_key(one):
            return True
        definition = one.definition
        assert self.leases is not None and definition is not None
        assert definition.concurrency is not None
        if one.key is None:
            try:
                one.key = key_of(definition, one.envelope)
            except Exception as error:  # converting arguments, and making a key, run user code
                self._failed[one] = failure_of(error, "arguments")
                return True
        key = one.key
        free = self.leases.count(key) + self._asked[key] < definition.concurrency.limit
        room = len(self._held) + self._asked.total() < slots
        if free and room and one.asking is None and self._rests.get(key, 0) <= self._clock():
            self._asked[key] += 1
            one.asking = self._loop.create_task(self._ask(one, key, definition.concurrency.limit))
        return False

    def _lacks_key(self, one: Parked) -> bool:
        return one.keyed and one not in self._held and one not in self._failed

    def _taken_here(self, one: Parked) -> bool:
        assert self.leases is not None and one.definition is not None and one.key is not None
        assert one.definition.concurrency is not None
        return self.leases.count(one.key) >= one.definition.concurrency.limit

    async def _ask(self, one: Parked, key: str, limit: int) -> None:
        assert self.leases is not None
        hold: Hold | None = None
        try:
            hold = await self.leases.claim(key, limit, one.envelope)
        except Exception as error:  # whatever it is: without an answer nothing may start
            self.leases.away(f"concurrency keys: {str(error) or 'no answer from the store'}")
        else:
            self.leases.away("")
        finally:
            one.asking = None
            self._asked[key] -= 1
        if hold is not None:
            self._held[one] = hold
        else:
            self._rests[key] = self._clock() + KEY_SECONDS
        self.look()

    def _key_is_free(self, key: str) -> None:
        self._rests.pop(key, None)
        self.look()

    # --- when to look again ---------------------------------------------------------------------

    def _moments(self) -> Iterator[float]:
        at = self._clock()
        yield max(min(one.since for one in self._parked) + PATIENCE_SECONDS - at, 0.05)
        has_key = {one.limits for one in self._parked if not one.keyed or one in self._held}
        for limits in has_key:
            due = [limiter.next_in() for limiter in limits if not limiter.ready()]
            known = [seconds for seconds in due if seconds is not None]
            if known and len(known) == len(due):
                yield max(known)
        for key, until in tuple(self._rests.items()):
            if until > at:
                yield until - at
            else:  # it is asked for when there is room
                del self._rests[key]
