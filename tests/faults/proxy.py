"""A loopback TCP proxy on a thread of its own, that breaks what runs through it on demand."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

Direction = Literal["up", "down"]
"""``up`` is from the client to the server."""
BOTH: tuple[Direction, ...] = ("up", "down")
CHUNK = 1 << 16


@dataclass(eq=False)
class _Line:
    """One connection; what it swallows it swallows until its end, and its end is told nobody."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    swallows: set[Direction] = field(default_factory=set)


class Proxy:
    """Passes everything on, until it is told otherwise. Thread-safe; a call returns when done."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self.accepted = 0
        self._target = target
        self._lines: set[_Line] = set()
        self._swallowing: set[Direction] = set()
        self._delay = 0.0
        self._refusing = self._holding = False
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    def reset(self) -> None:
        """End every connection with a TCP reset (SO_LINGER of 0), on both sides."""
        self._do(self._reset)

    def swallow(self, *directions: Direction, new: bool = False) -> None:
        """From now on the open connections lose what goes there; with ``new`` later ones too."""

        def swallow() -> None:
            for line in self._lines:
                line.swallows |= {*directions}
            if new:
                self._swallowing |= {*directions}

        self._do(swallow)

    def delay(self, seconds: float) -> None:
        """Pass every piece on so much later."""
        self._do(lambda: setattr(self, "_delay", seconds))

    def refuse(self) -> None:
        """Reset what is open, and every new connection at once."""

        def refuse() -> None:
            self._refusing = True
            self._reset()

        self._do(refuse)

    def hold(self) -> None:
        """Reset what is open; new connections are accepted, and then nothing happens."""

        def hold() -> None:
            self._holding = True
            self._reset()

        self._do(hold)

    def heal(self) -> None:
        """Treat new connections well; what is swallowed or held now stays so until it is reset."""

        def heal() -> None:
            self._refusing = self._holding = False
            self._swallowing.clear()
            self._delay = 0.0

        self._do(heal)

    # --- on the loop ----------------------------------------------------------------------------

    def _do(self, what: Callable[[], object]) -> None:
        async def work() -> None:
            what()

        asyncio.run_coroutine_threadsafe(work(), self._loop).result(10)

    def _reset(self) -> None:
        for line in tuple(self._lines):
            for writer in (line.client, line.server):
                _cut(writer)
        self._lines.clear()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self._refusing:
            _cut(writer)
            return
        if self._holding:
            self._lines.add(_Line(writer, writer))
            return
        try:
            answers, server = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            _cut(writer)
            return
        line = _Line(writer, server, {*self._swallowing})
        self._lines.add(line)
        with contextlib.suppress(asyncio.CancelledError):  # the end of this proxy
            await asyncio.gather(
                self._pump(reader, server, line, "up"), self._pump(answers, writer, line, "down")
            )
        # Both sides have ended, or this proxy has: a black hole told neither of them before.
        for one in (writer, server):
            one.transport.abort()
        self._lines.discard(line)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        line: _Line,
        direction: Direction,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                if self._delay:
                    await asyncio.sleep(self._delay)
                if direction not in line.swallows:
                    writer.write(data)
                    await writer.drain()
        if direction not in line.swallows:
            with contextlib.suppress(RuntimeError):
                writer.close()
            self._lines.discard(line)

    def run(self, listening: threading.Event) -> None:
        """The thread: serve until the loop is stopped."""
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._take, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        listening.set()
        self._loop.run_forever()
        server.close()
        self._reset()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        for _ in range(3):  # aborted transports close their sockets in the next turns
            self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def stop(self) -> None:
        """Let ``run`` return."""
        self._loop.call_soon_threadsafe(self._loop.stop)


def _cut(writer: asyncio.StreamWriter) -> None:
    found = writer.get_extra_info("socket")
    if found is not None and found.fileno() >= 0:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextmanager
def proxy(target: int) -> Iterator[Proxy]:
    """A proxy before the port ``target`` of this machine."""
    made, listening = Proxy(target), threading.Event()
    thread = threading.Thread(target=made.run, args=(listening,), name="proxy", daemon=True)
    thread.start()
    listening.wait(10)
    try:
        yield made
    finally:
        made.stop()
        thread.join(10)
