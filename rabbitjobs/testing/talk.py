"""AMQP by hand, over a plain socket: for messages that no client library would send."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from pika import frame, spec

from rabbitjobs.broker.url import Address


def publish_raw(
    address: Address, exchange: str, key: bytes, messages: Sequence[tuple[bytes, bytes]]
) -> None:
    """Publish messages, each a header frame's payload and a body, and wait for every confirm.

    The header holds the body's size. Nothing is checked, nor is ``key``. Raises ``OSError`` when
    the broker hangs up or does not answer for half a minute.
    """
    with _talking(address) as talk:
        for header, body in messages:
            talk.say(1, spec.Basic.Publish(exchange=exchange, routing_key=cast("str", key)))
            talk.content(header, body)
        confirmed = 0
        while confirmed < len(messages):
            ack = talk.expect(spec.Basic.Ack)
            confirmed = ack.delivery_tag if ack.multiple else confirmed + 1


@contextmanager
def _talking(address: Address) -> Iterator[_Talk]:
    """A connection with channel 1 in confirm mode, closed in order at the end."""
    with socket.create_connection((address.host, address.port), timeout=30) as connection:
        talk = _Talk(connection)
        connection.sendall(b"AMQP\x00\x00\x09\x01")
        talk.expect(spec.Connection.Start)
        response = f"\0{address.user}\0{address.password.reveal()}"
        talk.say(0, spec.Connection.StartOk({}, "PLAIN", response, "en_US"))
        tune = talk.expect(spec.Connection.Tune)
        talk.say(0, spec.Connection.TuneOk(tune.channel_max, tune.frame_max, 0))
        talk.say(0, spec.Connection.Open(address.vhost))
        talk.expect(spec.Connection.OpenOk)
        talk.say(1, spec.Channel.Open())
        talk.expect(spec.Channel.OpenOk)
        talk.say(1, spec.Confirm.Select())
        talk.expect(spec.Confirm.SelectOk)
        yield talk
        talk.say(0, spec.Connection.Close(200, "", 0, 0))
        talk.expect(spec.Connection.CloseOk)


class _Talk:
    """Saying and expecting methods over a socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = b""

    def say(self, channel: int, method: Any) -> None:
        self._connection.sendall(frame.Method(channel, method).marshal())

    def content(self, header: bytes, body: bytes) -> None:
        payloads = [(spec.FRAME_HEADER, header), *([(spec.FRAME_BODY, body)] if body else [])]
        self._connection.sendall(b"".join(_frame(*each) for each in payloads))

    def expect(self, kind: Any) -> Any:
        while True:
            size, found = frame.decode_frame(self._buffer)
            self._buffer = self._buffer[size:]
            if isinstance(found, frame.Method):
                if not isinstance(found.method, kind):
                    raise ConnectionError(f"expected {kind.NAME}, got {found.method!r}")
                return found.method
            if found is None:
                data = self._connection.recv(65_536)
                if not data:
                    raise ConnectionError(f"expected {kind.NAME}, got the end of the connection")
                self._buffer += data


def _frame(kind: int, payload: bytes) -> bytes:
    head = bytes([kind]) + (1).to_bytes(2, "big") + len(payload).to_bytes(4, "big")
    return head + payload + b"\xce"
