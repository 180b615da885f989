"""One rate in one process: it keeps a few starts in hand, and asks for more in time."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Final

from rabbitjobs.consumer.limits.tokens import Tokens
from rabbitjobs.policy.rate import Rate
from rabbitjobs.store.slices import Ask, Line, Slice, share

# The next slice is asked for when those in hand last no longer.
LEAD_SECONDS: Final = 0.25
# What the store gets to answer, and the pause after it did not.
ANSWER_SECONDS: Final = 4.0
AWAY_SECONDS: Final = 1.0

Take = Callable[[Ask], Awaitable[Slice]]


class Limiter:
    """Grants the starts of ``rate``, on one event loop.

    ``take`` asks the line that the fleet shares. ``wake`` is called when things may have changed.
    ``away`` hears why no line can be asked (then nothing starts), and "" when it can again.
    """

    def __init__(
        self,
        name: str,
        rate: Rate,
        take: Take,
        *,
        wake: Callable[[], None],
        away: Callable[[str], None] = lambda _reason: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.rate = rate
        self._take = take
        self._wake = wake
        self._away = away
        self._clock = clock
        self._tokens = Tokens()
        self._asking: asyncio.Task[None] | None = None
        self._not_before = -math.inf
        self._places: list[asyncio.Future[float | None]] = []
        self._reason = ""
        self._used, self._used_before, self._window = 0, 0, 0.0

    @property
    def what(self) -> str:
        """In words, for events."""
        return f"rate of {self.name}: {self.rate}"

    @property
    def of_job(self) -> bool:
        """Whether it is one job's, and not the whole queue's."""
        return self.name.startswith("job ")

    def change(self, rate: Rate) -> None:
        """Keep another rate of the same scope from now on; the starts in hand are given up."""
        self.rate = rate
        self._tokens = Tokens()
        self._not_before = -math.inf
        self._wake()

    def ready(self) -> bool:
        """Whether a job may start now."""
        return self._tokens.ready(self._clock())

    def start(self) -> None:
        """A job starts; only when ``ready``."""
        self._tokens.take()
        self._turn(self._clock())
        self._used += 1

    def next_in(self) -> float | None:
        """The seconds until it is worth looking again; ``None``: ``wake`` is called then."""
        now = self._clock()
        due = self._tokens.next_in(now)
        if due is not None or self._asking is not None:
            return due
        return max(self._not_before - now, 0.0)

    def want(self, waiting: int, free: int) -> None:
        """So many jobs wait for a start: ask for them, unless there are enough in hand.

        But only as many as ``free`` slots can take, or as were taken lately: a start that nobody
        uses is lost for the fleet.
        """
        now = self._clock()
        left = self._tokens.left(now)
        if self._asking is not None or now < self._not_before or waiting <= left:
            return
        if left and self._tokens.lasts(now) > LEAD_SECONDS:
            return
        recent = self._recent(now)
        if free > left or recent:
            self._ask(min(max(waiting - left, recent), max(free - left, recent)))

    async def place(self) -> float | None:
        """The seconds after which a job that is put off should come again; ``None``: unknown."""
        place: asyncio.Future[float | None] = asyncio.get_running_loop().create_future()
        self._places.append(place)
        if self._asking is None:
            self._ask(0)
        return await place

    def close(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()
        self._answer_places(None)

    def _recent(self, now: float) -> int:
        """What jobs used lately in the time of a slice: it saves them a question each."""
        self._turn(now)
        return max(self._used, self._used_before) // 2

    def _turn(self, now: float) -> None:
        """Count the starts of this second and the one before."""
        if now - self._window >= 1.0:
            recent = now - self._window < 2.0
            self._used, self._used_before = 0, self._used if recent else 0
            self._window = now

    def _ask(self, want: int) -> None:
        self._asking = asyncio.get_running_loop().create_task(self._asked(want))

    async def _asked(self, want: int) -> None:
        places, self._places = self._places, []
        rate = self.rate
        ask = Ask(key=self.name, spacing=rate.spacing, want=want, places=len(places))
        taken: Slice | None = None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                taken = await self._take(ask)
        except Exception as error:  # whatever it is: without an answer nothing may start
            self._is_away(f"{self.name}: {str(error) or 'no answer from the store'}")
        finally:
            self._asking = None
            self._answer(places, taken)
        now = self._clock()
        if taken is None:
            self._not_before = now + AWAY_SECONDS
        elif rate != self.rate:  # it was changed meanwhile
            self._is_away("")
        else:
            self._is_away("")
            self._tokens.add(taken, now)
            if want and not taken.count:
                self._not_before = now + max(taken.starts_in, 0.01)
        if self._places and taken is not None:
            self._ask(0)
        else:
            self._answer_places(None)
        self._wake()

    def _answer(self, places: list[asyncio.Future[float | None]], taken: Slice | None) -> None:
        for number, place in enumerate(places):
            if not place.done():
                place.set_result(taken.places_in + number * taken.spacing if taken else None)

    def _answer_places(self, taken: Slice | None) -> None:
        places, self._places = self._places, []
        self._answer(places, taken)

    def _is_away(self, reason: str) -> None:
        if bool(reason) != bool(self._reason):
            self._away(reason)
        self._reason = reason


def own_line(clock: Callable[[], float] = time.time) -> Take:
    """A line of this process alone, for rates of the scope ``process``."""
    line: Line | None = None

    async def take(ask: Ask) -> Slice:
        nonlocal line
        line, taken = share(line, ask, clock())
        return taken

    return take
