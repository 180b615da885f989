"""Threads that run sync jobs; what they are done with comes back in batches.

The standard executor wakes the event loop once for each job, by a system call that costs more
than a small job; and it builds a future of its own, with a lock, beside the loop's.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue
from typing import Any

from rabbitjobs.wire.mailbox import Mailbox

Carried = tuple[Any, BaseException | None]
# A bare tuple: a named one is built by Python code, for half a microsecond.
_Call = tuple[
    contextvars.Context,
    Callable[..., Any],
    Sequence[Any],
    Mapping[str, Any],
    asyncio.Future[Carried],
]


class Threads:
    """At most ``size`` threads, started as they are needed; for use from one event loop."""

    def __init__(self, size: int, *, name: str) -> None:
        self._size = size
        self._name = name
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._out = 0
        self._stopped = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._mailbox: Mailbox | None = None

    def run(
        self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> asyncio.Future[Carried]:
        """Call ``function`` on a thread, in a copy of this context: (value, what was raised).

        Cancelling the future takes back a call that no thread has taken yet.
        """
        if self._loop is None or self._mailbox is None:
            self._loop = asyncio.get_running_loop()
            self._mailbox = Mailbox(self._loop)
        future: asyncio.Future[Carried] = self._loop.create_future()
        self._out += 1
        if self._out > len(self._threads) and len(self._threads) < self._size:
            self._start(self._mailbox)
        self._calls.put((contextvars.copy_context(), function, args, kwargs, future))
        return future

    def stop(self) -> None:
        """Start nothing more; returns at once. What runs goes on, what waits is cancelled."""
        self._stopped = True
        for _ in self._threads:
            self._calls.put(None)

    def resize(self, size: int) -> None:
        """At most so many threads from now on; none that is there ends."""
        self._size = max(size, len(self._threads))

    def give_up(self) -> None:
        """A call holds its thread for good: another thread takes its place."""
        self._size += 1

    def _start(self, mailbox: Mailbox) -> None:
        # A daemon: a job that is abandoned must not keep the process, and it is not acked.
        thread = threading.Thread(
            target=self._work,
            args=(mailbox,),
            name=f"{self._name}_{len(self._threads)}",
            daemon=True,
        )
        self._threads.append(thread)
        thread.start()

    def _work(self, mailbox: Mailbox) -> None:
        while (call := self._calls.get()) is not None:
            context, function, args, kwargs, future = call
            skipped = self._stopped or future.cancelled()
            done = None if skipped else context.run(_carry, function, args, kwargs)
            mailbox.post(self._resolve, future, done)
            # Its arguments and its value must not live on while the thread waits.
            del call, context, function, args, kwargs, future, done

    def _resolve(self, future: asyncio.Future[Carried], done: Carried | None) -> None:
        self._out -= 1
        if future.done():
            return
        if done is None:
            future.cancel()
        else:
            future.set_result(done)


def _carry(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Carried:
    # StopIteration cannot be raised into a future or through a coroutine, and SystemExit would
    # end the thread: both are user code's, and go over as values.
    try:
        return function(*args, **kwargs), None
    except BaseException as error:
        return None, error
