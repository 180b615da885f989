"""A loopback TCP proxy that breaks what runs through it, as networks do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Connection:
    """One connection through the proxy. A black hole swallows; nobody hears of an end."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    hole: bool = False


@dataclass
class Proxy:
    """Listens on ``port`` and passes everything on, until it is told otherwise."""

    target: int
    port: int = 0
    accepted: int = 0
    connections: list[Connection] = field(default_factory=list)

    def reset(self) -> None:
        """Cut every connection with a TCP reset."""
        for connection in self.connections:
            connection.client.transport.abort()
            connection.server.transport.abort()
        self.connections.clear()

    def swallow(self) -> None:
        """From now on nothing passes on the connections that are open; new ones are fine."""
        for connection in self.connections:
            connection.hole = True

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client."""
        self.accepted += 1
        answers, server = await asyncio.open_connection("127.0.0.1", self.target)
        connection = Connection(writer, server)
        self.connections.append(connection)
        await asyncio.gather(_pump(reader, server, connection), _pump(answers, writer, connection))


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: Connection
) -> None:
    try:
        while data := await reader.read(1 << 16):
            if not connection.hole:
                writer.write(data)
                await writer.drain()
    except OSError:
        pass
    if not connection.hole:
        writer.close()


@asynccontextmanager
async def listening(
    take: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """A port of this machine at which ``take`` serves each client, on the running loop."""
    server = await asyncio.start_server(take, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@asynccontextmanager
async def proxy(target: int) -> AsyncIterator[Proxy]:
    """A proxy before the port ``target`` of this machine, on the running loop."""
    made = Proxy(target)
    async with listening(made.take) as made.port:
        try:
            yield made
        finally:
            made.swallow()
            made.reset()
