"""What every job of every contestant does: leave one mark that can be counted.

Standard library only: this file runs in the virtual environment of each contestant.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator

URL = os.environ["BENCH_URL"]
PAYLOAD = "x" * int(os.environ.get("BENCH_PAYLOAD", "200"))
TRIP = "trip"
WARM = 50
# Of a hundred jobs of the failing kind ten fail once and one for good, where there is a desk.
FAILING, HOPELESS, PLAIN = "f", "h", "p"

_marks = os.open(os.environ["BENCH_MARKS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
_teller = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)


def mark(payload: str) -> None:
    """Count this job: a byte in the file, or a datagram to the sender that waits for it."""
    if payload == TRIP:
        _teller.sendto(b".", os.environ["BENCH_MARKS"] + ".sock")
    elif payload and len(payload) != len(PAYLOAD):
        raise ValueError(f"expected {len(PAYLOAD)} characters, got {len(payload)}")
    else:
        os.write(_marks, b".")


class Passing(Exception):
    """What will be gone at the next attempt."""


class Hopeless(Exception):
    """What a person must look at."""


def attempt(payload: str, first: bool) -> None:
    """One attempt of a job of the failing kind; each failure leaves a mark of its own."""
    if payload[0] == HOPELESS:
        os.write(_marks, HOPELESS.encode())
        raise Hopeless
    if payload[0] == FAILING and first:
        os.write(_marks, FAILING.encode())
        raise Passing
    mark(payload)


def failing_payloads(desk: bool) -> Iterator[str]:
    """The payloads of ``count()`` jobs; without a ``desk`` the hopeless ones are plain."""
    for number in range(count()):
        kind = FAILING if number % 10 == 0 else PLAIN
        if desk and number % 100 == 55:
            kind = HOPELESS
        yield kind + PAYLOAD[1:]


def send_failing(send: Callable[[str], object]) -> None:
    """Send ``count()`` jobs of the failing kind, for a system without a desk."""
    for payload in failing_payloads(desk=False):
        send(payload)
    say(sent=count())


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
