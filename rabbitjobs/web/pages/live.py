"""Live updates: a stream of events that says that something changed, and nothing else.

What changed the page asks for by itself, with the rights of its reader.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from rabbitjobs.errors import RabbitJobsError
from rabbitjobs.review.desk import Desk
from rabbitjobs.web.pages.pulse import LOOK_SECONDS, Pulse
from rabbitjobs.web.pages.visit import Site

QUIET_LOOKS = 15
# Then the browser comes again, and the guard looks at its session once more.
LOOKS = 300


async def changes(site: Site, request: Request) -> Response:
    """The stream. Guarded like every page: who may not look at the desk gets none."""
    desk = site.desk_of(request)
    return StreamingResponse(
        marks(site.pulse, desk),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def marks(
    pulse: Pulse, desk: Desk, *, looks: int = LOOKS, pause: float = LOOK_SECONDS
) -> AsyncIterator[str]:
    """An event for each change, and a sign of life in between."""
    yield "retry: 3000\n\n"
    known: str | None = None
    for look in range(looks):
        try:
            mark = await run_in_threadpool(pulse.of, desk)
        except RabbitJobsError:
            mark = known or ""  # the store is away: the page itself says so when it is loaded
        if mark != known:
            yield f"event: mark\ndata: {mark}\n\n"
        elif look % QUIET_LOOKS == 0:
            yield ": here\n\n"
        known = mark
        await asyncio.sleep(pause)
