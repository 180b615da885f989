"""A TCP relay in front of a broker: it can cut every connection, or hold back the answers."""

from __future__ import annotations

import asyncio
import contextlib


class Relay:
    """Listens on a free loopback port and passes bytes on to ``host:port``.

    Everything runs on the loop that called ``start``.
    """

    def __init__(self, host: str, port: int) -> None:
        self.port = 0
        self._target = (host, port)
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen; ``port`` is known afterwards."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def hold(self) -> None:
        """From now on nothing that the broker says arrives; what clients say still does."""
        self._flowing.clear()

    def flow(self) -> None:
        """Let the broker's answers through again."""
        self._flowing.set()

    def cut(self) -> None:
        """Reset every connection; new ones are taken, with answers flowing."""
        for writer in self._writers:
            writer.transport.abort()
        for pump in self._pumps:
            pump.cancel()
        self._flowing.set()

    async def close(self) -> None:
        """Cut everything and stop listening."""
        self.cut()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            self._writers.discard(writer)
            return
        self._writers.add(far_writer)
        self._pump(reader, far_writer, held=False)
        self._pump(far_reader, writer, held=True)

    def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, held: bool
    ) -> None:
        task = asyncio.get_running_loop().create_task(self._copy(reader, writer, held=held))
        self._pumps.add(task)
        task.add_done_callback(self._pumps.discard)

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, held: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                if held:
                    await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        self._writers.discard(writer)
