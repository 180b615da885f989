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
from rabbitjobs.backend.protocol import Record, Recorder
from rabbitjobs.ending.settlement import Settlement
from rabbitjobs.errors import SendError, StoreOutdated, StoreRefused, StoreUnavailable
from rabbitjobs.wire.protocol import Outgoing

T = TypeVar("T")
Publish = Callable[[Outgoing], Awaitable[None]]
Delayed = Callable[[str], None]
# What ends by itself, or by somebody's hand elsewhere: the message waits for it unacked.
OUTAGES = (StoreUnavailable, StoreOutdated, SendError)
# Any other error of a record is about that record. A few tries, in case it was not.
RECORD_TRIES = 3
RECORD_PAUSE_SECONDS = 0.5
REASON_SHOWN = 300


async def settle(
    settlement: Settlement,
    *,
    recorder: Recorder | None,
    publish: Publish,
    delayed: Delayed,
) -> bool:
    """Carry a settlement out. ``False``: the attempt was recorded before, nothing was sent.

    A store that is down or not migrated yet and a broker that does not confirm are waited for,
    for ever, with jittered backoff: the message stays unacked meanwhile, and ``delayed`` hears
    why. Cancelling is safe at every point: what was done is harmless when it is done again. Raises
    ``StoreRefused`` when the store works but never takes this record: nothing was written or sent.
    """
    record = settlement.record
    if record is not None and recorder is not None:
        first = await _record(record, recorder, delayed)
        if not first:
            return False
    for outgoing in settlement.sends:
        await until_done(partial(publish, outgoing), delayed)
    if settlement.sends:
        failpoints.reach("after-forward-confirm")
    return True


async def _record(record: Record, recorder: Recorder, delayed: Delayed) -> bool:
    # A loop of our own: building a retrying object for each job costs a fifth of a small job.
    tries = 1
    while True:
        try:
            return await until_done(partial(recorder.record, record), delayed)
        except Exception as error:
            if tries == RECORD_TRIES:
                raise StoreRefused(said(error)) from error
            delayed(said(error))
        tries += 1
        await asyncio.sleep(RECORD_PAUSE_SECONDS)


def said(error: BaseException) -> str:
    """What an error says in one line; a database's own word, without the statement and its data."""
    said = getattr(error, "orig", None) or error
    first = str(said).strip().split("\n", 1)[0]
    return f"{type(said).__name__}: {first[:REASON_SHOWN]}"


async def until_done(step: Callable[[], Awaitable[T]], delayed: Delayed) -> T:
    """Repeat a step until the store and the broker take it; ``delayed`` hears each reason."""
    try:
        return await step()
    except OUTAGES as error:
        delayed(str(error))
    retrying = tenacity.AsyncRetrying(
        wait=tenacity.wait_random_exponential(multiplier=0.25, max=10),
        retry=tenacity.retry_if_exception_type(OUTAGES),
        before_sleep=lambda state: delayed(str(state.outcome.exception()) if state.outcome else ""),
        sleep=asyncio.sleep,
    )

    async def once() -> T:
        # Tenacity awaits coroutine functions only: of a lambda it would return the coroutine.
        return await step()

    return await retrying(once)
