"""The jobs that the suite runs: in a module, because a pool may import them elsewhere."""

from __future__ import annotations

import asyncio
import contextvars
import os
import subprocess
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import structlog

from rabbitjobs.consumer.context import Context, current
from rabbitjobs.errors import SoftTimeLimit
from rabbitjobs.job.definition import define
from rabbitjobs.job.registry import Registry
from rabbitjobs.job.signals import Ignore, Retry, Review

SOFT = timedelta(milliseconds=300)
HARD = timedelta(milliseconds=600)
# What a job that waits for another one has at most.
MOST_SECONDS = 20.0
JOBS = Registry()
_left = contextvars.ContextVar("_left", default="nothing")


def registry() -> Registry:
    """What a ``Program`` for these jobs calls."""
    return JOBS


def _job(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        known = define(
            function,
            name=function.__name__,
            queue="q",
            retry=None,
            rules=(),
            ignore_result=bool(options.pop("ignore_result", False)),
        )
        JOBS.add(msgspec.structs.replace(known, **options))
        return function

    return register


@_job()
def give_back(value: Any) -> Any:
    """Return what came."""
    return value


@_job()
async def give_back_later(value: Any) -> Any:
    """The same, in a coroutine."""
    await asyncio.sleep(0)
    return value


@_job(ignore_result=True)
def forget(value: Any) -> Any:
    """Return what nobody keeps."""
    return value


@_job()
def add(a: int, b: int = 1) -> int:
    """Take arguments with types and a default."""
    return a + b


# --- failures -------------------------------------------------------------------------------------


class OddError(LookupError):
    """An error that cannot be pickled: its constructor wants more than its message."""

    def __init__(self, number: int, *, lock: object) -> None:
        super().__init__(f"odd number {number}")
        self.lock = lock


class MuteError(Exception):
    """An error that fails when it is shown."""

    def __str__(self) -> str:
        raise ValueError("no words")


@_job()
def fail(how: str) -> None:
    """Raise."""
    match how:
        case "odd":
            raise OddError(3, lock=threading.Lock())
        case "mute":
            raise MuteError
        case "chain":
            try:
                os.environ["RABBITJOBS_NO_SUCH_KEY"]
            except KeyError as error:
                raise RuntimeError("no such key") from error
        case "exit":
            raise SystemExit(3)
        case "interrupt":
            raise KeyboardInterrupt
        case "stop":
            raise StopIteration
        case _:
            raise {"retry": Retry, "ignore": Ignore, "review": Review}[how]("as it says")


@_job()
def fail_later_on() -> None:
    """Ask for another try."""
    raise Retry("in a while", delay=timedelta(seconds=90))


@_job()
async def fail_in_a_coroutine() -> None:
    """Raise, after a turn of the loop."""
    await asyncio.sleep(0)
    raise OddError(5, lock=threading.Lock())


@_job()
def return_a_lock() -> Any:
    """Return what cannot be sent."""
    return threading.Lock()


# --- context --------------------------------------------------------------------------------------


@_job()
def tell_context(ctx: Context) -> Any:
    """What can be seen of the attempt, and what an earlier job left behind."""
    same = current() is ctx
    seen = {"same": same, "left": _left.get(), "bound": structlog.contextvars.get_contextvars()}
    _left.set(ctx.job_id)
    return seen | {"id": ctx.job_id, "attempt": ctx.attempt, "queue": ctx.queue}


@_job()
async def tell_context_later(ctx: Context) -> Any:
    """The same, in a coroutine."""
    return tell_context(ctx)


@_job()
def report_progress(ctx: Context, times: int) -> str:
    """Say a few times how far it is."""
    for done in range(1, times + 1):
        ctx.progress(done, times, "going on")
    return "done"


# --- waiting --------------------------------------------------------------------------------------


def wait_for(path: Path) -> None:
    """Wait until a file is there: the one thing that jobs and tests can share in every pool."""
    until = time.monotonic() + MOST_SECONDS
    while not path.exists():
        if time.monotonic() > until:
            raise TimeoutError(f"{path} did not come")
        time.sleep(0.005)


@_job()
def meet(folder: str, me: str, other: str) -> str:
    """Return when the other one runs too."""
    Path(folder, me).touch()
    wait_for(Path(folder, other))
    return me


@_job()
async def meet_later(folder: str, me: str, other: str) -> str:
    """The same, in a coroutine."""
    await asyncio.sleep(0)
    Path(folder, me).touch()  # noqa: ASYNC240
    while not Path(folder, other).exists():  # noqa: ASYNC110, ASYNC240
        await asyncio.sleep(0.005)
    return me


@_job()
def note(path: str, text: str) -> None:
    """Leave a line in a file."""
    with Path(path).open("a") as file:
        file.write(f"{text}\n")


@_job()
def look(ctx: Context, path: str) -> bool:
    """Return when it was cancelled."""
    Path(path).touch()
    until = time.monotonic() + MOST_SECONDS
    while not ctx.cancelled and time.monotonic() < until:
        time.sleep(0.005)
    return ctx.cancelled


# --- limits ---------------------------------------------------------------------------------------


def _spin() -> None:
    until = time.monotonic() + MOST_SECONDS
    while time.monotonic() < until:
        time.sleep(0.01)


@_job(soft_limit=SOFT)
def clean_up(path: str) -> str:
    """Take too long, and clean up when told."""
    try:
        _spin()
    except SoftTimeLimit:
        Path(path).touch()
        raise
    return "in time"


@_job(soft_limit=SOFT)
def end_well() -> str:
    """Take too long, and make a success of it."""
    try:
        _spin()
    except SoftTimeLimit:
        return "cut short"
    return "in time"


@_job(soft_limit=SOFT)
async def clean_up_later(path: str) -> str:
    """The same, in a coroutine."""
    try:
        await asyncio.sleep(MOST_SECONDS)
    finally:
        Path(path).touch()  # noqa: ASYNC240
    return "in time"


@_job(soft_limit=SOFT)
def just_in_time() -> str:
    """Keep the limit."""
    return "in time"


@_job(soft_limit=SOFT, hard_limit=HARD)
def tell_deadline(ctx: Context) -> float:
    """Say how many seconds are left."""
    return (ctx.deadline or 0.0) - time.time()


@_job(soft_limit=SOFT, hard_limit=HARD)
async def tell_deadline_later(ctx: Context) -> float:
    """The same, in a coroutine."""
    return (ctx.deadline or 0.0) - time.time()


@_job(soft_limit=SOFT, hard_limit=HARD)
def go_on_regardless() -> str:
    """Take too long, and hear nothing."""
    for _ in range(2):
        try:
            _spin()
        except SoftTimeLimit:
            continue
    return "in time"


@_job(soft_limit=SOFT, hard_limit=HARD)
async def go_on_regardless_later() -> str:
    """The same, in a coroutine."""
    for _ in range(2):
        try:
            await asyncio.sleep(MOST_SECONDS)
        except asyncio.CancelledError:
            continue
    return "in time"


# --- children -------------------------------------------------------------------------------------


@_job()
def pid() -> int:
    """Say where it runs."""
    return os.getpid()


@_job()
def hold_memory(megabytes: int) -> int:
    """Leak."""
    _leak.append(b"x" * (megabytes << 20))
    return os.getpid()


_leak: list[bytes] = []


@_job()
def die(how: int) -> None:
    """By a signal, or with an exit code if ``how`` is not positive."""
    if how > 0:
        os.kill(os.getpid(), how)
        _spin()
    os._exit(-how)


@_job()
def come_back_twice() -> int:
    """Fork, and let both return."""
    os.fork()
    return os.getpid()


@_job(hard_limit=HARD)
def hang_with_a_helper(path: str) -> None:
    """Start a program that would go on without us."""
    helper = subprocess.Popen(["sleep", str(10 * MOST_SECONDS)])
    Path(path).write_text(str(helper.pid))
    _spin()


@_job()
def parent() -> int:
    """Say by whom this process was made."""
    return os.getppid()


@_job()
def ends_by_sigterm() -> int:
    """How a program ends that a job starts and tells to end."""
    helper = subprocess.Popen(["sleep", str(MOST_SECONDS)])
    helper.terminate()
    return helper.wait()


@_job()
def say(text: str) -> None:
    """Print."""
    print(text, flush=True)
