"""The I/O thread: one event loop of our own that only ever talks to the broker.

Neither user code nor the store runs on it, so heartbeats are answered whatever a job does.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from rabbitjobs.wire.mailbox import Mailbox

T = TypeVar("T")
TURNS = 5


class Portal:
    """A thread with an event loop, and the door into it. Belongs to the process that made it."""

    def __init__(self, name: str = "rabbitjobs-io") -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self._mailbox = Mailbox(self.loop)
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._thread.start()

    def post(self, call: Callable[..., object], *args: Any) -> None:
        """Run ``call(*args)`` on the I/O loop soon; from any thread, in order."""
        self._mailbox.post(call, *args)

    def post_all(self, call: Callable[..., object], arguments: Iterable[tuple[Any, ...]]) -> None:
        """Post ``call(*args)`` for each of the arguments; from any thread, in order."""
        self._mailbox.post_all(call, arguments)

    def submit(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Start a coroutine on the I/O loop; from any thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Await a coroutine on the I/O loop from another loop.

        Cancelling the waiter leaves the work running: a cancelled RPC would close its channel.
        """
        return await asyncio.shield(asyncio.wrap_future(self.submit(work)))

    def inside(self) -> bool:
        """Whether the caller is on the I/O thread."""
        return threading.current_thread() is self._thread

    def close(self, timeout: float = 5.0) -> None:
        """Cancel what still runs on the loop and end the thread. Does nothing after a fork."""
        if self.pid != os.getpid() or not self._thread.is_alive():
            return
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout)

    def _main(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            tasks = asyncio.all_tasks(self.loop)
            for task in tasks:
                task.cancel()
            self.loop.run_until_complete(_finish(tasks))
        finally:
            self.loop.close()
            self._mailbox.close()


async def _finish(tasks: Iterable[asyncio.Task[Any]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)
    # Transports that were aborted just now close their sockets in the next turns of the loop.
    for _ in range(TURNS):
        await asyncio.sleep(0)
