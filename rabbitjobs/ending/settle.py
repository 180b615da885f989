"""The one ending of every job: store the outcome, publish what follows confirmed; then the ack.

The consumer acks, and only after this returned.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import tenacity

from rabbitjobs import failpoints
from rabbitjobs.backend.protocol import Recorder
from rabbitjobs.ending.settlement import Settlement
from rabbitjobs.errors import SendError, StoreUnavailable
from rabbitjobs.wire.protocol import Outgoing

T = TypeVar("T")
Publish = Callable[[Outgoing], Awaitable[None]]
Delayed = Callable[[str], None]


async def settle(
    settlement: Settlement,
    *,
    recorder: Recorder | None,
    publish: Publish,
    delayed: Delayed,
) -> bool:
    """Carry a settlement out. ``False``: the attempt was recorded before, nothing was sent.

    A store that is down and a broker that does not confirm are waited for, for ever, with
    jittered backoff: the message stays unacked meanwhile, and ``delayed`` hears why. Cancelling
    is safe at every point: what was done is harmless when it is done again.
    """
    record = settlement.record
    if record is not None and recorder is not None:
        first = await until_done(partial(recorder.record, record), delayed)
        if not first:
            return False
    for outgoing in settlement.sends:
        await until_done(partial(publish, outgoing), delayed)
    if settlement.sends:
        failpoints.reach("after-forward-confirm")
    return True


async def until_done(step: Callable[[], Awaitable[T]], delayed: Delayed) -> T:
    """Repeat a step until the store and the broker take it; ``delayed`` hears each reason."""
    try:
        return await step()
    except (StoreUnavailable, SendError) as error:
        delayed(str(error))
    retrying = tenacity.AsyncRetrying(
        wait=tenacity.wait_random_exponential(multiplier=0.25, max=10),
        retry=tenacity.retry_if_exception_type((StoreUnavailable, SendError)),
        before_sleep=lambda state: delayed(str(state.outcome.exception()) if state.outcome else ""),
        sleep=asyncio.sleep,
    )
    return await retrying(step)
