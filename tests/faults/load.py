"""The app whose jobs run while faults happen. Every run of a job is written to the ledger.

What the jobs do is told by their arguments, so that one queue carries all of them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from datetime import timedelta
from pathlib import Path

from rabbitjobs import Context, Ignore, RabbitJobs, Review
from rabbitjobs.events import Event, JobEnded, JobSucceeded
from tests.faults.clocks import follow
from tests.faults.ledger import ENDINGS, Pen

follow(os.environ.get("FAULTS_CLOCK"))
app = RabbitJobs()
pen = Pen(Path(os.environ["FAULTS_LEDGER"]))
kept: list[bytes] = []


class Again(Exception):
    """What a flaky job raises: the queue's rules retry it."""


@app.job("mark", queue="work")
async def mark(ctx: Context, token: str, seconds: float = 0.0) -> str:
    """Take a while, as a coroutine."""
    pen.write("S", token, ctx.job_id, ctx.attempt)
    await asyncio.sleep(seconds)
    pen.write("E", token, ctx.job_id)
    return token


@app.job("grind", queue="work")
def grind(ctx: Context, token: str, seconds: float = 0.0) -> str:
    """Take a while, on a thread."""
    pen.write("S", token, ctx.job_id, ctx.attempt)
    time.sleep(seconds)
    pen.write("E", token, ctx.job_id)
    return token


@app.job("hog", queue="work")
async def hog(ctx: Context, token: str, seconds: float = 0.0) -> str:
    """Block the event loop, as bad code does."""
    pen.write("S", token, ctx.job_id, ctx.attempt)
    time.sleep(seconds)  # noqa: ASYNC251  # that is the fault
    pen.write("E", token, ctx.job_id)
    return token


@app.job("die", queue="work")
async def die(ctx: Context, token: str, seconds: float = 0.0) -> None:
    """End the worker, as a crash of an extension does."""
    pen.write("S", token, ctx.job_id, ctx.attempt)
    os.kill(os.getpid(), signal.SIGKILL)


@app.job("crunch", queue="work", pool="processes")
def crunch(ctx: Context, token: str, seconds: float = 0.0) -> str:
    """Take a while, in a child."""
    pen.write("S", token, ctx.job_id, ctx.attempt)
    time.sleep(seconds)
    pen.write("E", token, ctx.job_id)
    return token


@app.job("burst", queue="work", pool="processes")
def burst(ctx: Context, token: str, seconds: float = 0.0) -> None:
    """End the child, as a crash of an extension does."""
    pen.write("S", token, ctx.job_id, ctx.attempt)
    os.kill(os.getpid(), signal.SIGSEGV)


# No worker starts on a queue whose consumer timeout is too short for a hard limit.
LIMIT = timedelta(seconds=1) if os.environ.get("FAULTS_LIMITED") else None


@app.job("hang", queue="work", pool="processes", hard_limit=LIMIT)
def hang(ctx: Context, token: str, seconds: float = 0.0) -> None:
    """Never end."""
    pen.write("S", token, ctx.job_id, ctx.attempt)
    while True:
        time.sleep(60)


@app.job("leak", queue="work", pool="processes")
def leak(ctx: Context, token: str, seconds: float = 0.0) -> str:
    """Keep 10 MB."""
    pen.write("S", token, ctx.job_id, ctx.attempt)
    kept.append(os.urandom(10_000_000))
    pen.write("E", token, ctx.job_id)
    return token


@app.job("flaky", queue="work")
async def flaky(ctx: Context, token: str, seconds: float = 0.0) -> str:
    """Fail at first, and succeed at the second attempt."""
    pen.write("S", token, ctx.job_id, ctx.attempt)
    await asyncio.sleep(seconds)
    if ctx.attempt == 1:
        raise Again
    pen.write("E", token, ctx.job_id)
    return token


@app.job("skip", queue="work")
async def skip(ctx: Context, token: str, seconds: float = 0.0) -> None:
    """End as ignored."""
    pen.write("S", token, ctx.job_id, ctx.attempt)
    raise Ignore("of no use")


@app.job("ask", queue="work")
async def ask(ctx: Context, token: str, seconds: float = 0.0) -> None:
    """End on the desk."""
    pen.write("S", token, ctx.job_id, ctx.attempt)
    raise Review("a person decides")


@app.job("plead", queue="work")
async def plead(ctx: Context, token: str, seconds: float = 0.0) -> str:
    """End on the desk at first, and succeed once a person has released it."""
    return await _plead(ctx, token, seconds, 1)


@app.job("insist", queue="work")
async def insist(ctx: Context, token: str, seconds: float = 0.0) -> str:
    """End on the desk twice, and succeed at the second release."""
    return await _plead(ctx, token, seconds, 2)


async def _plead(ctx: Context, token: str, seconds: float, times: int) -> str:
    pen.write("S", token, ctx.job_id, ctx.attempt)
    await asyncio.sleep(seconds)
    if ctx.attempt <= times:
        raise Review("a person decides")
    pen.write("E", token, ctx.job_id)
    return token


if os.environ.get("FAULTS_NEWER"):

    @app.job("newer", queue="work")
    async def newer(ctx: Context, token: str) -> str:
        """A job that older workers do not know."""
        pen.write("S", token, ctx.job_id, ctx.attempt)
        pen.write("E", token, ctx.job_id)
        return token


def _note(event: Event) -> None:
    if isinstance(event, JobSucceeded):
        pen.write("D", "-", event.job_id, event.attempt)
    elif isinstance(event, JobEnded):
        pen.write(ENDINGS[event.status], "-", event.job_id, event.attempt)


app.bus.listen(_note)
