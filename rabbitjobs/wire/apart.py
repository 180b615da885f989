"""Asking a queue that does not answer, on connections that nothing else depends on."""

from __future__ import annotations

import contextlib

import tenacity

from rabbitjobs.errors import ChannelClosed, ConnectionLost
from rabbitjobs.wire.browsing import browsing
from rabbitjobs.wire.link import Link

LONGEST_PAUSE_SECONDS = 60.0


async def until_it_answers(link: Link, queue: str, *, first_pause: float) -> None:
    """Return once ``queue`` answers a consumer, even with a refusal; pauses grow from the first."""
    retrying = tenacity.AsyncRetrying(
        wait=tenacity.wait_exponential(first_pause, max=LONGEST_PAUSE_SECONDS),
        retry=tenacity.retry_if_exception_type(ConnectionLost),
    )
    async for attempt in retrying:
        with attempt, contextlib.suppress(ChannelClosed):  # a refusal is an answer too
            async with (
                link.another() as wire,
                browsing(wire, queue, prefetch=1, idle=0.0),
            ):
                pass
