"""What every job of every contestant does: leave one mark that can be counted.

Standard library only: this file runs in the virtual environment of each contestant.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Awaitable, Callable

URL = os.environ["BENCH_URL"]
PAYLOAD = "x" * int(os.environ.get("BENCH_PAYLOAD", "200"))
TRIP = "trip"
WARM = 50

_marks = os.open(os.environ["BENCH_MARKS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
_teller = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)


def mark(payload: str) -> None:
    """Count this job: a byte in the file, or a datagram to the sender that waits for it."""
    if payload == TRIP:
        _teller.sendto(b".", os.environ["BENCH_MARKS"] + ".sock")
    else:
        os.write(_marks, b".")


def count() -> int:
    """How many jobs this command is about."""
    return int(sys.argv[2])


def told() -> str:
    """The command: what this process shall do."""
    return sys.argv[1]


def say(**figures: object) -> None:
    """Print the figures of this process as one JSON line."""
    print(json.dumps(figures), flush=True)


def time_sends(send: Callable[[str], object]) -> None:
    """Send ``count()`` jobs one by one, each awaited, and say how long it took.

    The first few open connections and are not timed; they are part of the count.
    """
    for _ in range(WARM):
        send(PAYLOAD)
    before, cpu = time.perf_counter(), time.process_time()
    for _ in range(count() - WARM):
        send(PAYLOAD)
    say(
        seconds=time.perf_counter() - before,
        cpu=time.process_time() - cpu,
        timed=count() - WARM,
        sent=count(),
    )


async def atime_sends(send: Callable[[str], Awaitable[object]]) -> None:
    """The same for a sender that is awaited."""
    for _ in range(WARM):
        await send(PAYLOAD)
    before, cpu = time.perf_counter(), time.process_time()
    for _ in range(count() - WARM):
        await send(PAYLOAD)
    say(
        seconds=time.perf_counter() - before,
        cpu=time.process_time() - cpu,
        timed=count() - WARM,
        sent=count(),
    )


class Trips:
    """Times from the call of send to the moment at which the job runs and tells it."""

    def __init__(self) -> None:
        path = os.environ["BENCH_MARKS"] + ".sock"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(path)
        self._socket.settimeout(30)
        self._times: list[float] = []

    def run(self, send: Callable[[str], object]) -> None:
        """One job at a time."""
        for _ in range(count()):
            before = time.perf_counter()
            send(TRIP)
            self._socket.recv(16)
            self._times.append(time.perf_counter() - before)
        self.finish()

    async def arun(self, send: Callable[[str], Awaitable[object]]) -> None:
        """One job at a time, by an awaited send."""
        for _ in range(count()):
            before = time.perf_counter()
            await send(TRIP)
            self._socket.recv(16)
            self._times.append(time.perf_counter() - before)
        self.finish()

    def finish(self) -> None:
        """Say the percentiles, without the first few."""
        say_times(self._times)


def say_times(times: list[float]) -> None:
    """Say the percentiles of round trips in milliseconds, without the first few."""
    times = sorted(times[min(WARM, len(times) // 5) :])
    say(
        p50=times[len(times) // 2] * 1000,
        p99=times[int(len(times) * 0.99)] * 1000,
        trips=len(times),
    )
