"""Handing calls to an event loop in another thread: many calls, one wake-up."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any


class Mailbox:
    """Calls posted from any thread run on ``loop``, in order.

    ``call_soon_threadsafe`` writes a byte to a pipe each time, which costs more than a small job:
    so only the first call of a batch wakes the loop, and the rest ride along.
    """

    __slots__ = ("_awake", "_calls", "_closed", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._awake = False
        self._closed = False

    def post(self, call: Callable[..., object], *args: Any) -> None:
        """Run ``call(*args)`` on the loop soon.

        Once the loop is closed, ``close`` runs it, if that is ever called; after that it runs at
        once, in the caller's thread.
        """
        self._calls.append((call, args))
        self._wake()

    def _wake(self) -> None:
        if not (self._awake or self._closed):
            self._awake = True
            # If the loop is closed, what is posted now is left to ``close``.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._run)
        if self._closed:
            self._run()

    def post_all(self, call: Callable[..., object], arguments: Iterable[tuple[Any, ...]]) -> None:
        """Post ``call(*args)`` for each of the arguments, and wake the loop once."""
        self._calls.extend([(call, args) for args in arguments])
        self._wake()

    def close(self) -> None:
        """Run what was posted and found no loop any more; call it when the loop is closed."""
        # The flag first: whoever posts after it runs the call, whoever posted before is seen here.
        self._closed = True
        self._run()

    def _run(self) -> None:
        # The flag falls before the count is taken: a post in between wakes the loop once more
        # for nothing, while the other order could leave a call lying until the next one.
        self._awake = False
        calls = self._calls
        for _ in range(len(calls)):
            try:
                call, args = calls.popleft()
            except IndexError:  # closed, and another thread was quicker
                return
            try:
                call(*args)
            except Exception as error:  # one caller's fault must not swallow its neighbours' calls
                self._loop.call_exception_handler(
                    {"message": "a posted call failed", "exception": error}
                )
