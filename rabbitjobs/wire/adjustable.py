"""A subscription that can be changed while it runs: its prefetch, and whether it takes anything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from rabbitjobs.wire.protocol import Wire
from rabbitjobs.wire.subscription import PAUSED, Subscription


class AdjustableSubscription(Subscription):
    """See ``Subscription``. A quorum queue takes a new prefetch for new consumers only, so the
    consumer is replaced; what the old one handed over can be settled as ever."""

    def set_prefetch(self, prefetch: int) -> None:
        """Take at most so many unacked messages from now on."""
        if prefetch == self._prefetch:
            return
        self._prefetch = prefetch
        if not self._paused:
            self._then(self._subscribe_again)

    def pause(self) -> None:
        """Take nothing more until ``resume``; what was delivered can be settled as ever.

        ``changed`` hears "paused" after the last message has been handed over.
        """
        if not self._paused and not self._stopping:
            self._paused = True
            self._then(self._rest)

    def resume(self) -> None:
        """Subscribe again after ``pause``."""
        if self._paused and not self._stopping:
            self._paused = False
            self._then(self._go_on)

    def _then(self, how: Callable[[Wire], Coroutine[Any, Any, None]]) -> None:
        """Do this with the consumer once what is being done with it has come to its end."""
        before = self._task

        async def after() -> None:
            if before is not None and not before.done():
                try:
                    await asyncio.wait({before})
                except asyncio.CancelledError:
                    before.cancel()
                    raise
            wire = self._link.wire
            if wire is not None and not self._stopping:
                await how(wire)
            elif self._paused and not self._stopping:
                self._changed("paused", PAUSED)

        self._look_away()
        self._task = asyncio.get_running_loop().create_task(after())

    async def _rest(self, wire: Wire) -> None:
        if self._paused and self._consumer is not None and await self._cancel(wire):
            self._let_go(quiet=True)
        if self._paused:
            self._changed("paused", PAUSED)

    async def _go_on(self, wire: Wire) -> None:
        if self._paused:
            return
        if self._consumer is None:
            await self._attach(wire)
        else:  # resumed before it had paused
            self._changed("consuming", "")
            self._watching = asyncio.get_running_loop().create_task(self._watch(wire))
