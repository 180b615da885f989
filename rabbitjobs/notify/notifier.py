"""The notifier: takes a note, and returns when it is safe to ack it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import tenacity

from rabbitjobs.clock import now as wall_clock
from rabbitjobs.errors import NotifyUnavailable
from rabbitjobs.notify.channels import Channel
from rabbitjobs.notify.lane import FIRST_PAUSE, LONGEST_PAUSE, Lane
from rabbitjobs.notify.memory import Layered, Memory
from rabbitjobs.notify.note import Completion, Note
from rabbitjobs.notify.on_done import post
from rabbitjobs.notify.options import NotifyOptions
from rabbitjobs.notify.webhook import Post

# A receiver of completions that is down must not keep slots that failures need.
COMPLETION_PATIENCE = 60.0
COMPLETIONS_AT_ONCE = 20


class Notifier:
    """Tells people of failures, and callers of completions.

    Call ``take`` once for each delivery, all of them at the same time (up to
    ``options.rate.hold``): failures that exceed the rate wait inside it for their digest. Ack
    after it returns. Where it raises, do not ack: nothing was lost, the note is told after its
    redelivery. What was told is remembered before the ack: with a durable ``memory`` only a crash
    in the moment between a channel's yes and that write tells a failure twice, without one any
    crash before the ack does. ``clock`` gives seconds that never jump.
    """

    def __init__(
        self,
        options: NotifyOptions,
        clock: Callable[[], float] = time.monotonic,
        channels: Sequence[Channel] = (),
        *,
        memory: Memory | None = None,
    ) -> None:
        self.options = options
        self._lanes = tuple(Lane(channel, options, clock, memory) for channel in channels)
        self._post = Post(timeout=options.timeout.total_seconds())
        self._posted = Layered(memory)
        self._posting = asyncio.Semaphore(COMPLETIONS_AT_ONCE)

    async def take(self, note: Note | Completion) -> None:
        """Return when ``note`` is safely handled: sent by every channel, alone or in a digest.

        Raises ``NotifyUnavailable`` when one of the channels took nothing for the options'
        ``patience`` (the others remember what they sent). A completion is posted once; one that
        can never be delivered is logged as an error and counts as handled.
        """
        if isinstance(note, Completion):
            await self._complete(note)
            return
        told = await asyncio.gather(
            *(lane.tell(note) for lane in self._lanes), return_exceptions=True
        )
        for outcome in told:
            if isinstance(outcome, BaseException):
                raise outcome

    async def close(self) -> None:
        """Stop: whoever waits in ``take`` gets ``NotifyUnavailable``; connections are closed."""
        await asyncio.gather(*(lane.close() for lane in self._lanes))
        await self._post.close()

    async def _complete(self, note: Completion) -> None:
        key = f"on_done:{note.key}"
        if await self._posted.seen(key):
            return
        patience = min(COMPLETION_PATIENCE, self.options.patience.total_seconds())
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(NotifyUnavailable),
            wait=tenacity.wait_exponential_jitter(multiplier=FIRST_PAUSE, max=LONGEST_PAUSE),
            stop=tenacity.stop_before_delay(patience),
            reraise=True,
        )
        await retrying(self._post_once, note)
        await self._posted.remember([key])

    async def _post_once(self, note: Completion) -> None:
        async with self._posting:
            await post(note, self.options.on_done, self._post, wall_clock())
