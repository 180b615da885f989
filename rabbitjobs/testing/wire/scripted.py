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
_ANSWERS: dict[type, Callable[[Any], Any]] = {
    spec.Connection.StartOk: lambda _: spec.Connection.Tune(2047, 131_072, 10),
    spec.Connection.Open: lambda _: spec.Connection.OpenOk(),
    spec.Connection.Close: lambda _: spec.Connection.CloseOk(),
    spec.Channel.Open: lambda _: spec.Channel.OpenOk(),
    spec.Channel.Close: lambda _: spec.Channel.CloseOk(),
    spec.Confirm.Select: lambda _: spec.Confirm.SelectOk(),
    spec.Basic.Qos: lambda _: spec.Basic.QosOk(),
    spec.Basic.Consume: lambda asked: spec.Basic.ConsumeOk(asked.consumer_tag),
    spec.Basic.Cancel: lambda asked: spec.Basic.CancelOk(asked.consumer_tag),
}


class ScriptedBroker:
    """``expected`` publishes are taken silently; then the frames of ``script`` are said.

    A script is a list of methods for the channel that published; one for channel 0 is given as
    ``(0, method)``, a returned message as ``("return", number)``. ``deliveries`` makes the bytes
    that follow the answer to ``basic.consume``, of the channel's number and the consumer tag.
    With ``piece`` everything is sent in pieces of so many bytes, with a turn of the loop between.
    ``heard`` lists the methods that the client sent, without those that open and close things.
    """

    def __init__(
        self,
        expected: int = 0,
        script: list[Any] | None = None,
        *,
        deliveries: Callable[[int, str], bytes] | None = None,
        piece: int = 0,
    ) -> None:
        self.heard: list[Any] = []
        self._expected = expected
        self._script = script or []
        self._deliveries = deliveries
        self._piece = piece
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
        await self._send(
            writer, _said(0, spec.Connection.Start(0, 9, properties, "PLAIN", "en_US"))
        )
        buffer = b""
        while data := await reader.read(65_536):
            buffer += data
            while True:
                size, found = frame.decode_frame(buffer)
                if found is None:
                    break
                buffer = buffer[size:]
                await self._send(writer, self._answer(found))

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        step = self._piece or len(data) or 1
        for at in range(0, len(data), step):
            writer.write(data[at : at + step])
            if self._piece:
                await asyncio.sleep(0)

    def _answer(self, found: Any) -> bytes:
        if isinstance(found, frame.Header):
            method, _ = self._published[-1]
            self._published[-1] = (method, found.properties)
            last = len(self._published) == self._expected
            return self._performance(found.channel_number) if last else b""
        if not isinstance(found, frame.Method):
            return b""
        method = found.method
        if isinstance(method, spec.Basic.Publish):
            self._published.append((method, None))
        answer = _ANSWERS.get(type(method))
        if answer is None:
            self.heard.append(method)
            return b""
        said = _said(found.channel_number, answer(method))
        if isinstance(method, spec.Basic.Consume) and self._deliveries is not None:
            said += self._deliveries(found.channel_number, str(method.consumer_tag))
        return said

    def _performance(self, channel: int) -> bytes:
        said = b""
        for step in self._script:
            if isinstance(step, tuple) and step[0] == "return":
                method, properties = self._published[step[1] - 1]
                told = spec.Basic.Return(312, "NO_ROUTE", method.exchange, method.routing_key)
                said += _said(channel, told) + frame.Header(channel, 0, properties).marshal()
            elif isinstance(step, tuple):
                said += _said(*step)
            else:
                said += _said(channel, step)
        return said


def _said(channel: int, method: Any) -> bytes:
    data: bytes = frame.Method(channel, method).marshal()
    return data


def delivered(
    channel: int, consumer: str, tag: int, header: bytes, body: bytes, *, most: int = 131_064
) -> bytes:
    """The frames of one delivery: ``header`` is a header frame's payload that nobody has checked.

    Body frames carry at most ``most`` bytes each.
    """
    data = _said(channel, spec.Basic.Deliver(consumer, tag, False, "x", "q"))
    data += _frame(spec.FRAME_HEADER, channel, header)
    for at in range(0, len(body), most):
        data += _frame(spec.FRAME_BODY, channel, body[at : at + most])
    return data


def _frame(kind: int, channel: int, payload: bytes) -> bytes:
    head = bytes([kind]) + channel.to_bytes(2, "big") + len(payload).to_bytes(4, "big")
    return head + payload + b"\xce"
