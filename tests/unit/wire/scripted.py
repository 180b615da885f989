"""A broker that shakes hands like RabbitMQ and then says exactly what a test tells it to."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from pika import frame, spec

from rabbitjobs.broker.url import Address

_CAPABILITIES = {
    "publisher_confirms": True,
    "basic.nack": True,
    "consumer_cancel_notify": True,
    "connection.blocked": True,
}
_ANSWERS: dict[type, Callable[[], Any]] = {
    spec.Connection.StartOk: lambda: spec.Connection.Tune(2047, 131_072, 10),
    spec.Connection.Open: spec.Connection.OpenOk,
    spec.Connection.Close: spec.Connection.CloseOk,
    spec.Channel.Open: spec.Channel.OpenOk,
    spec.Channel.Close: spec.Channel.CloseOk,
    spec.Confirm.Select: spec.Confirm.SelectOk,
}


class ScriptedBroker:
    """``expected`` publishes are taken silently; then the frames of ``script`` are said.

    A script is a list of methods for the channel that published; one for channel 0 is given as
    ``(0, method)``, a returned message as ``("return", number)``.
    """

    def __init__(self, expected: int, script: list[Any]) -> None:
        self._expected = expected
        self._script = script
        self._published: list[tuple[Any, Any]] = []
        self._writers: list[asyncio.StreamWriter] = []

    @asynccontextmanager
    async def running(self, context: ssl.SSLContext | None = None) -> AsyncIterator[Address]:
        """Listen, with TLS if a context is given, and say where."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        try:
            yield Address(port=server.sockets[0].getsockname()[1])
        finally:
            server.close()
            for writer in self._writers:
                writer.transport.abort()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        await reader.readexactly(8)
        properties = {"product": "RabbitMQ", "version": "4.3.0", "capabilities": _CAPABILITIES}
        self._say(writer, 0, spec.Connection.Start(0, 9, properties, "PLAIN", "en_US"))
        buffer = b""
        while data := await reader.read(65_536):
            buffer += data
            while True:
                size, found = frame.decode_frame(buffer)
                if found is None:
                    break
                buffer = buffer[size:]
                self._hear(writer, found)

    def _hear(self, writer: asyncio.StreamWriter, found: Any) -> None:
        if isinstance(found, frame.Header):
            method, _ = self._published[-1]
            self._published[-1] = (method, found.properties)
            if len(self._published) == self._expected:
                self._perform(writer, found.channel_number)
        elif isinstance(found, frame.Method):
            if isinstance(found.method, spec.Basic.Publish):
                self._published.append((found.method, None))
            answer = _ANSWERS.get(type(found.method))
            if answer is not None:
                self._say(writer, found.channel_number, answer())

    def _perform(self, writer: asyncio.StreamWriter, channel: int) -> None:
        for step in self._script:
            if isinstance(step, tuple) and step[0] == "return":
                method, properties = self._published[step[1] - 1]
                self._say(
                    writer,
                    channel,
                    spec.Basic.Return(312, "NO_ROUTE", method.exchange, method.routing_key),
                )
                writer.write(frame.Header(channel, 0, properties).marshal())
            elif isinstance(step, tuple):
                self._say(writer, *step)
            else:
                self._say(writer, channel, step)

    def _say(self, writer: asyncio.StreamWriter, channel: int, method: Any) -> None:
        writer.write(frame.Method(channel, method).marshal())
