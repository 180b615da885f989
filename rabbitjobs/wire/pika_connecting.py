"""How pika's asyncio connection comes by its socket: one task, and the socket always has an owner.

pika 1.4's own way is ``AMQPConnectionWorkflow``. Aborted between the end of a name's resolution
and the callback that reports it, it forgets the connector which that callback makes (``abort``
cancels a future that is done already; ``_close`` then drops the connector): the socket is
connected and left open, until the garbage collector finds it. And a peer that resets right after
it has accepted leaves it waiting for ever (``create_streaming_connection`` raises into the loop).

The seam is ``_adapter_connect_stream``, ``_abort_connection_workflow`` and
``create_streaming_connection``; tests hold it.
"""

# pyright: reportAttributeAccessIssue=false
# pika's stubs leave these parts out.

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

from pika.adapters.asyncio_connection import AsyncioConnection
from pika.adapters.base_connection import _StreamingProtocolShim
from pika.exceptions import ConnectionOpenAborted

from rabbitjobs.wire.forking import let_go_in_children
from rabbitjobs.wire.pika_calls import resolve

_Connection: Any = AsyncioConnection
READ_BYTES = 65_536
# Where an address is: family, type, protocol, canonical name, socket address.
_Place = tuple[int, int, int, str, Any]


class OwnedAsyncioConnection(_Connection):  # type: ignore[misc]
    """An ``AsyncioConnection`` that leaves no socket behind, whenever it is closed."""

    _connecting: asyncio.Task[None]
    _transport: Any
    _error: Any

    def _adapter_connect_stream(self) -> None:
        self._connecting = self.ioloop.create_task(self._connect())
        self._connecting.add_done_callback(self._on_connected)

    def _abort_connection_workflow(self) -> None:
        if self._transport is None:
            self._connecting.cancel()  # ends in ``_on_connected``
        else:
            self._transport.abort()  # ends in ``_proto_connection_lost``

    def _on_connected(self, task: asyncio.Task[None]) -> None:
        error: BaseException | None = (
            self._error or ConnectionOpenAborted("connecting was cancelled")
            if task.cancelled()
            else task.exception()
        )
        # A transport that is there reports its end itself.
        if error is not None and self._transport is None and not self.is_closed:
            self._on_stream_terminated(error)

    async def _connect(self) -> None:
        """Link this connection to the first address of its host that takes us."""
        places = await self.ioloop.getaddrinfo(
            self.params.host, self.params.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )
        for left, place in enumerate(places, 1 - len(places)):
            try:
                sock = await self._reach(place)
            except OSError:
                if left == 0:
                    raise
            else:
                await self._link(sock)
                return

    async def _reach(self, place: _Place) -> socket.socket:
        family, kind, protocol, _, address = place
        sock = socket.socket(family, kind, protocol)
        let_go_in_children(sock)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(self.params.socket_timeout):
                await self.ioloop.sock_connect(sock, address)
        except BaseException as error:
            sock.close()
            if isinstance(error, OSError) and error.errno is not None:
                # asyncio's text repeats the address, and leaves out what happened.
                raise OSError(error.errno, os.strerror(error.errno)) from error
            raise
        return sock

    async def _link(self, sock: socket.socket) -> None:
        """Hand the socket to a transport, after TLS if that is asked for."""
        if self.params.ssl_options is None:
            await self._link_plainly(sock)
        else:
            await self._link_by_tls(sock)

    async def _link_plainly(self, sock: socket.socket) -> None:
        """By a transport of the loop, which closes the socket when this fails or is cancelled.

        pika's reads 4 KiB at a time, and asks for the socket's readiness around each write.
        """
        try:
            sock.getpeername()  # cut before anybody looked: it would have no peer to name later
        except OSError as error:
            sock.close()
            raise OSError(error.errno, f"getpeername: {os.strerror(error.errno or 0)}") from error
        await self.ioloop.create_connection(lambda: _Stream(self), sock=sock)

    async def _link_by_tls(self, sock: socket.socket) -> None:
        linked: asyncio.Future[Any] = self.ioloop.create_future()

        def done(result: Any) -> None:
            if not isinstance(result, BaseException):
                let_go_in_children(result[0]._sock)  # another one after TLS
            else:
                self._transport = None  # if it was there already: its socket is closed now
            resolve(linked, result)

        tls = self.params.ssl_options
        assert tls is not None
        # Its owner from here on: it closes the socket when it fails, raises or is cancelled, and
        # links this connection to the transport in the same breath as it reports success.
        linking = self._nbio.create_streaming_connection(
            protocol_factory=lambda: _StreamingProtocolShim(self),
            sock=sock,
            on_done=done,
            ssl_context=tls.context,
            server_hostname=tls.server_hostname or self.params.host,
        )
        try:
            result = await linked
        except asyncio.CancelledError:
            # Between the call of ``cancel`` and this line it may have been linked all the same.
            if not linking.cancel() and self._transport is not None:
                self._transport.abort()
            raise
        if isinstance(result, BaseException):
            raise result


class _Stream(asyncio.BufferedProtocol):
    """What a transport of the loop tells, told to pika's connection."""

    def __init__(self, connection: OwnedAsyncioConnection) -> None:
        self._connection: Any = connection
        # Read into the same place each time: asyncio would allocate 256 KiB for each read.
        self._buffer = memoryview(bytearray(READ_BYTES))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is the transport's from here on."""
        self._connection._proto_connection_made(transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next read goes."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """So much was read."""
        self._connection._proto_data_received(bytes(self._buffer[:nbytes]))

    def eof_received(self) -> bool:
        """The peer ends the stream: pika closes it too."""
        return bool(self._connection._proto_eof_received())

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed in this turn of the loop."""
        self._connection._proto_connection_lost(exc)
