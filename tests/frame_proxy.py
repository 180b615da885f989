"""A loopback proxy that reads AMQP frames, and lets a test hear them and take some away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from tests.proxy import listening

_METHOD = 1


@dataclass(frozen=True)
class Frame:
    """One frame on the connection of that number; ``method`` is empty for any but methods."""

    connection: int
    kind: int
    raw: bytes

    @property
    def method(self) -> bytes:
        """Class and method, such as ``b"\\x00\\x3c\\x00\\x14"`` for ``basic.consume``."""
        return self.raw[7:11] if self.kind == _METHOD else b""


class FrameProxy:
    """Passes every frame on; a subclass says which it hears and which it takes away."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self.accepted = 0
        self._target = target
        self._writers: list[asyncio.StreamWriter] = []

    async def hear(self, frame: Frame) -> None:
        """A client is about to say this."""

    def takes(self, frame: Frame) -> bool:
        """Whether a client never gets this frame of the broker."""
        return False

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client."""
        self.accepted += 1
        number = self.accepted
        answers, server = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers += [writer, server]
        server.write(await reader.readexactly(8))
        await asyncio.gather(
            self._pump(reader, server, number, from_client=True),
            self._pump(answers, writer, number, from_client=False),
        )

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        number: int,
        *,
        from_client: bool,
    ) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readexactly(7)
                rest = await reader.readexactly(int.from_bytes(head[3:7], "big") + 1)
                frame = Frame(number, head[0], head + rest)
                if from_client:
                    await self.hear(frame)
                elif self.takes(frame):
                    continue
                writer.write(frame.raw)
                await writer.drain()
        writer.close()

    def close(self) -> None:
        """Cut everything."""
        for writer in self._writers:
            writer.transport.abort()


P = TypeVar("P", bound=FrameProxy)


@asynccontextmanager
async def between(made: P) -> AsyncIterator[P]:
    """This proxy, listening on the running loop; at the end everything is cut."""
    async with listening(made.take) as made.port:
        try:
            yield made
        finally:
            made.close()
