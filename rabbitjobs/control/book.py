"""What a worker knows of cancellations: the store's, read again and again, and never per message.

The store is the only truth. A worker reads all of it before its first job, what is new every
``READ_SECONDS``, and at once when a control message says that there is something new. A job starts
on what was read less than ``FRESH_SECONDS`` ago; where that is longer ago, it waits for a read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from rabbitjobs.errors import RabbitJobsError
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.store.cancellations import Cancellation
from rabbitjobs.store.text import storable

READ_SECONDS = 2.0
FRESH_SECONDS = 5.0
# So often everything is read anew, and what has expired is forgotten.
ANEW_SECONDS = 600.0

Read = Callable[[int], Sequence[Cancellation]]


class Book:
    """The cancellations that hold now; for use from one event loop.

    ``read`` gives those that came after a number, all for 0; it blocks, and is called on a thread.
    ``close`` lets go of what it reads from, ``clock`` is monotonic.
    Listeners hear of each one that is new, on the loop.
    """

    def __init__(
        self,
        read: Read,
        *,
        close: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._clock = clock
        self._close = close
        # Of its own: jobs may keep the loop's usual threads busy for as long as they like.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rabbitjobs-cancellations")
        self._ids: dict[str, Cancellation] = {}
        self._tags: dict[str, Cancellation] = {}
        self._last = 0
        self._read_at = self._anew_at = float("-inf")
        self._waited_until: float | None = None
        self._reading: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._listeners: list[Callable[[Cancellation], None]] = []
        self._stopped = False
        self.trouble = ""

    def __len__(self) -> int:
        return len(self._ids) + len(self._tags)

    @property
    def age(self) -> float:
        """How many seconds ago the store was read last; infinite if never."""
        return self._clock() - self._read_at

    @property
    def settled(self) -> bool:
        """Whether there is nothing to ask: what is known is fresh, and nothing is cancelled."""
        if self._ids or self._tags:
            return False
        return self._clock() - self._read_at < FRESH_SECONDS

    def listen(self, listener: Callable[[Cancellation], None]) -> None:
        """Call ``listener`` with each order that is new from now on."""
        self._listeners.append(listener)

    def of(self, envelope: Envelope) -> Cancellation | None:
        """The order that ends this job, if there is one."""
        if self._ids:
            found = self._ids.get(storable(envelope.id))
            if found is not None:
                return found
        if not self._tags or envelope.tag is None:
            return None
        found = self._tags.get(storable(envelope.tag))
        return found if found is not None and found.means(envelope) else None

    async def look(self, envelope: Envelope, *, wait: bool = True) -> Cancellation | None:
        """``of``, on what is fresh.

        Raises ``StoreUnavailable`` and ``StoreOutdated`` when that cannot be read; without
        ``wait`` what is known is taken then, and all together wait for a store that hangs no longer
        than ``FRESH_SECONDS``, until it has answered again.
        """
        if self.age >= FRESH_SECONDS:
            if wait:
                await self.renew(since=self._clock() - FRESH_SECONDS)
            else:
                await self._try_to_renew()
        return self.of(envelope)

    async def _try_to_renew(self) -> None:
        if self._waited_until is None:
            self._waited_until = self._clock() + FRESH_SECONDS
        left = self._waited_until - self._clock()
        if left <= 0:
            return
        try:
            async with asyncio.timeout(left):
                await self.renew(since=self._clock() - FRESH_SECONDS)
        except TimeoutError:
            return
        except RabbitJobsError:
            self._waited_until = self._clock()

    async def renew(self, *, since: float | None = None) -> None:
        """Read what is new; raises what the store raises.

        A read that began before ``since`` (of the clock; without it: before this call) does not
        do: another follows it.
        """
        wanted = self._clock() if since is None else since
        while self._read_at < wanted and not self._stopped:
            if self._reading is None or self._reading.done():
                self._reading = asyncio.get_running_loop().create_task(self._renew())
                self._reading.add_done_callback(_seen)
            # Whoever is cancelled here leaves the read to the others.
            await asyncio.shield(self._reading)

    async def _renew(self) -> None:
        began = self._clock()
        anew = began - self._anew_at >= ANEW_SECONDS
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._thread, self._read, 0 if anew else self._last)
        new = [one for one in found if self._those_of(one).get(one.value) != one]
        if anew:
            self._ids, self._tags, self._anew_at = {}, {}, began
        for one in found:
            self._those_of(one)[one.value] = one
            self._last = max(self._last, one.number)
        self._read_at, self._waited_until = began, None
        for one in new:
            for listener in self._listeners:
                listener(one)

    def _those_of(self, one: Cancellation) -> dict[str, Cancellation]:
        return self._ids if one.kind == "id" else self._tags

    def start(self) -> None:
        """Keep reading from now on."""
        self._task = asyncio.get_running_loop().create_task(self._keep_reading())

    async def _keep_reading(self) -> None:
        while True:
            try:
                await self.renew()
                self.trouble = ""
            except Exception as error:  # a worker that read no more in silence would cancel nothing
                self.trouble = str(error)
            await asyncio.sleep(READ_SECONDS)

    def stop(self) -> None:
        """Read no more; what is asked of it from now on is answered by what it knows."""
        if self._stopped:
            return
        self._stopped = True
        if self._task is not None:
            self._task.cancel()
        self._thread.submit(self._close)  # after a read that is under way
        self._thread.shutdown(wait=False)


def _seen(reading: asyncio.Task[None]) -> None:
    """Its error is that of those who wait; there may be none any more."""
    if not reading.cancelled():
        reading.exception()
