"""A subscription that can be changed while it runs: its prefetch, and whether it takes anything."""

from __future__ import annotations

import asyncio

from rabbitjobs.wire.protocol import Wire
from rabbitjobs.wire.subscription import Subscription

PAUSED = "paused by remote control"
# So long a consumer that is to go gets no acks through, until it holds all that it may.
FILL_SECONDS = 0.3


class AdjustableSubscription(Subscription):
    """See ``Subscription``. The prefetch of a live consumer cannot be changed, so the consumer is
    replaced; what the old one handed over can be settled as ever.

    What is asked for while something is under way is done after it: the last word holds.
    """

    _paused = False

    def resize(self, prefetch: int) -> None:
        """Hold at most ``prefetch`` unacked messages from now on; what is out already stays out."""
        self._prefetch = prefetch
        self._fit_when_free()

    def pause(self) -> None:
        """Take nothing more until ``resume``; what was delivered can be settled as ever.

        ``changed`` hears "paused" after the last message has been handed over.
        """
        if not self._paused and not self._stopping:
            self._paused = True
            self._fit_when_free()

    def resume(self) -> None:
        """Subscribe again after ``pause``."""
        if self._paused and not self._stopping:
            self._paused = False
            self._fit_when_free()

    def link_up(self, wire: Wire, generation: int) -> None:
        """Subscribe anew, unless it is paused."""
        if not self._paused:
            super().link_up(wire, generation)

    def link_down(self, reason: str) -> None:
        """See ``Subscription``; paused, it is that again at once."""
        super().link_down(reason)
        self._say_if_paused()

    def _say_if_paused(self) -> bool:
        if self._paused and not self._stopping:
            self._changed("paused", PAUSED)
        return self._paused

    def _fit_when_free(self) -> None:
        if self._link.wire is None:
            self._say_if_paused()  # the next connection finds it as it is to be
        elif self._task is None or self._task.done():
            self._fit(self._link.wire)

    def _fit(self, wire: Wire) -> None:
        """Begin what there is still to change; where there is nothing, all goes on."""
        if self._stopping:
            return
        if self._consumer is not None:
            if not self._paused and self._asked == self._prefetch:
                return
            self._look_away()
            self._task = asyncio.get_running_loop().create_task(self._replace(wire))
        elif not self._say_if_paused():
            self._task = asyncio.get_running_loop().create_task(self._attach(wire))

    async def _subscribe(self, wire: Wire) -> None:
        """See ``Subscription``; what was asked for meanwhile comes next."""
        if self._say_if_paused():
            return
        await super()._subscribe(wire)
        if self._consumer is not None:
            self._fit(wire)

    async def _replace(self, wire: Wire) -> None:
        """Let the old consumer fill up first: what the queue hands it while it is being cancelled,
        the broker never sends, and counts as failed when the channel closes (seen on 4.3.6).
        """
        window = self._window
        try:
            await window.fill(self._asked, FILL_SECONDS)
            if window is self._window:  # else it is gone already, and another is on its way
                await self._subscribe_again(wire)
        finally:
            window.filling = None
            self._flush()
