"""The guard below aiormq, which aio-pika stands on: a transport whose reader passes checked frames.

aiormq decodes every frame inside its reader task; one that fails ends the connection, and with
aio-pika's own recovery for ever. The seam is the ``transport_factory`` of ``aiormq.Connection``,
and that its receiver asks only for ``at_eof`` and ``readexactly``; a test holds both.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Any, cast

from aiormq.connection import TransportFactory

from rabbitjobs.wire.forking import let_go_in_children
from rabbitjobs.wire.guard import HEADER_FRAME, METHOD_FRAME, Guard

if TYPE_CHECKING:
    from yarl import URL

_HEAD = 7
_CONNECTION_CLOSE = b"\x00\x0a\x00\x32"


class GuardedTransport(TransportFactory):
    """Opens the TCP or TLS stream and puts the guard between it and aiormq.

    Without ``context`` it is plain TCP. Give one to each connection: it remembers the stream so
    that ``abort`` can drop it. A service that makes its own ``aiormq`` or ``aio_pika``
    connection can pass one as ``transport_factory`` to be safe from poison messages too.
    """

    def __init__(
        self, *, context: ssl.SSLContext | None = None, server_name: str | None = None
    ) -> None:
        self._context = context
        self._server_name = server_name
        self._writer: asyncio.StreamWriter | None = None
        self._reader: GuardedReader | None = None

    @property
    def goodbye(self) -> str | None:
        """Why the broker closed the connection, if it said so; aiormq drops it in a handshake."""
        return self._reader.goodbye if self._reader is not None else None

    async def create(
        self, url: URL, **kwargs: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the host and port of ``url``; raises ``OSError``."""
        reader, self._writer = await asyncio.open_connection(
            url.host,
            url.port,
            ssl=self._context,
            server_hostname=self._server_name if self._context else None,
        )
        let_go_in_children(self)
        self._reader = GuardedReader(reader)
        return cast("asyncio.StreamReader", self._reader), self._writer

    def fileno(self) -> int:
        """The number of its socket; negative when there is none."""
        sock = self._writer.get_extra_info("socket") if self._writer is not None else None
        return -1 if sock is None else int(sock.fileno())

    def abort(self) -> None:
        """Drop the connection at once, without a goodbye."""
        if self._writer is not None:
            # A TLS transport that was closed twice has forgotten its protocol in CPython 3.11.2,
            # and asks it to abort all the same.
            with contextlib.suppress(AttributeError):
                self._writer.transport.abort()


class GuardedReader:
    """Reads whole frames from ``stream`` and hands them out, damaged ones replaced."""

    def __init__(self, stream: asyncio.StreamReader) -> None:
        self._stream = stream
        self.goodbye: str | None = None
        self._guard = Guard()
        self._frame = b""
        self._at = 0

    def at_eof(self) -> bool:
        """Whether everything has been handed out and nothing will follow."""
        return self._at >= len(self._frame) and self._stream.at_eof()

    async def read(self, size: int = -1) -> bytes:
        """What is left of the frame, and of the stream if ``size`` is negative."""
        rest, self._frame, self._at = self._frame[self._at :], b"", 0
        return rest + await self._stream.read(size)

    async def readexactly(self, size: int) -> bytes:
        """The next ``size`` bytes; raises ``asyncio.IncompleteReadError`` at the end."""
        while len(self._frame) - self._at < size:
            rest = self._frame[self._at :]
            self._frame, self._at = rest, 0
            try:
                self._frame = rest + await self._next_frame()
            except asyncio.IncompleteReadError as error:
                raise asyncio.IncompleteReadError(rest + error.partial, size) from error
        stop = self._at + size
        piece = self._frame[self._at : stop]
        self._at = stop
        return piece

    async def _next_frame(self) -> bytes:
        head = await self._stream.readexactly(_HEAD)
        if head.startswith(b"AMQP"):
            return head  # the broker speaks another version, and says so with this instead
        rest = await self._stream.readexactly(int.from_bytes(head[3:7], "big") + 1)
        if head[0] not in (METHOD_FRAME, HEADER_FRAME):
            return head + rest
        payload = rest[:-1]
        if payload.startswith(_CONNECTION_CLOSE):
            self.goodbye = payload[7 : 7 + payload[6]].decode(errors="backslashreplace")
        checked = self._guard.pass_on(head[0], int.from_bytes(head[1:3], "big"), payload)
        if checked is payload:
            return head + rest
        return head[:3] + len(checked).to_bytes(4, "big") + checked + rest[-1:]
