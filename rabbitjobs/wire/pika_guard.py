"""pika's asyncio connection with the guard below it, reading frames by offset.

pika decodes properties inside the connection, so that one poison message ends it (a timestamp of
2^62, headers nested 3000 deep, a header that is not a number); bad UTF-8 it hands on as bytes.
And it slices its whole buffer for each frame. Here the frames of a delivery are decoded by
``guard``, strictly and where they lie; all others still go through pika's own decoding.

The seam is ``_on_data_available`` and ``_deliver_frame_to_channel`` of pika 1.4; a test holds it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pika import frame, spec
from pika.exceptions import InvalidFrameError

from rabbitjobs.wire.guard import (
    BAD_FRAME,
    DELIVER,
    Guard,
    damage_of,
    decode_deliver,
    decode_header,
    marked,
    substitute,
)
from rabbitjobs.wire.pika_connecting import OwnedAsyncioConnection
from rabbitjobs.wire.pika_inbox import Inbox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pika.channel import Channel

    from rabbitjobs.message.properties import Properties

_frame_header = struct.Struct(">BHI").unpack_from
_method = struct.Struct(">I").unpack_from
_FRAME_END = 0xCE
_DELIVER_BYTES = DELIVER.to_bytes(4, "big")
_ACK, _NACK = 80, 120
_CONFIRMS = frozenset(bytes([0, 60, 0, each]) for each in (_ACK, _NACK))
_confirm = struct.Struct(">QB").unpack_from
Confirming = Callable[[int, bool, bool], None]


# pika 1.4 is not typed; its private seams are held by a test instead.
_Properties: Any = spec.BasicProperties


class DecodedProperties(_Properties):  # type: ignore[misc]
    """pika's properties, already decoded: ``value`` is ours, and pika's attributes read from it.

    Of a damaged message ``value`` holds the headers ``x-rj-damage`` and ``x-rj-raw`` only.
    """

    expiration = None
    user_id = None
    cluster_id = None

    def __init__(self, value: Properties) -> None:
        self.value = value

    def __getattr__(self, name: str) -> Any:
        if name == "value":
            raise AttributeError(name)
        return getattr(self.value, name)


class GuardedAsyncioConnection(OwnedAsyncioConnection):
    """An ``AsyncioConnection`` that no message can end."""

    _guard: Guard
    _frame_buffer: bytes
    _inboxes: dict[int, Inbox]
    _confirms: dict[int, Confirming]
    _outgoing: list[bytes]
    _written: bool

    def _init_connection_state(self) -> None:
        super()._init_connection_state()
        self._guard = Guard()
        self._inboxes = {}
        self._confirms = {}
        self._outgoing = []
        self._written = False

    def deliver_to(self, inbox: Inbox, channel: Channel) -> None:
        """Let ``inbox`` have the deliveries on this channel, past pika, until it is closed."""
        number = channel.channel_number
        self._inboxes[number] = inbox
        channel.add_on_close_callback(lambda *_: self._inboxes.pop(number, None))

    def confirm_to(self, confirmed: Confirming, channel: Channel) -> None:
        """Call ``confirmed(tag, multiple, acked)`` for confirms on this channel, past pika."""
        number = channel.channel_number
        self._confirms[number] = confirmed
        channel.add_on_close_callback(lambda *_: self._confirms.pop(number, None))

    def write(self, frames: bytes) -> None:
        """Send whole frames: the first of this turn of the loop at once, the others together."""
        if self._written:
            self._outgoing.append(frames)
            return
        self._written = True
        self.ioloop.call_soon(self._on_turn)
        self._emit(frames)

    def _output_marshaled_frames(self, marshaled_frames: Sequence[bytes]) -> None:
        self.frames_sent += len(marshaled_frames)
        self.write(b"".join(marshaled_frames))

    def _on_turn(self) -> None:
        self._written = False
        if self._outgoing:
            frames, self._outgoing = b"".join(self._outgoing), []
            self._emit(frames)

    def _emit(self, frames: bytes) -> None:
        if self._transport is not None:
            self.bytes_sent += len(frames)
            self._adapter_emit_data(frames)

    def _on_data_available(self, data_in: bytes) -> None:
        buffer = self._frame_buffer + data_in if self._frame_buffer else data_in
        if buffer[:4] == b"AMQP":
            super()._on_data_available(data_in)
            return
        at, size = 0, len(buffer)
        inboxes = self._inboxes
        self.bytes_received += len(data_in)
        try:
            while size - at >= 8:
                kind, channel, length = _frame_header(buffer, at)
                end = at + 7 + length
                if end >= size:
                    break
                if buffer[end] != _FRAME_END:
                    raise InvalidFrameError("Invalid FRAME_END marker")
                taken = inboxes[channel].take(kind, buffer, at, end) if channel in inboxes else 0
                start, at = at, taken or end + 1
                if not taken:
                    self._take(kind, channel, buffer, start, at)
        finally:
            self._frame_buffer = buffer[at:]

    def _take(self, kind: int, channel: int, buffer: bytes, start: int, stop: int) -> None:
        """One whole frame, ``buffer[start:stop]``, from its type to its end marker."""
        content: frame.Frame
        if kind == spec.FRAME_BODY:
            content = frame.Body(channel, buffer[start + 7 : stop - 1])
        elif kind == spec.FRAME_HEADER:
            content = self._header(channel, buffer, start + 7, stop - 1)
        elif kind == spec.FRAME_METHOD and buffer.startswith(_DELIVER_BYTES, start + 7):
            content = self._deliver(channel, buffer, start + 7, stop - 1)
        elif channel in self._confirms and (buffer[start + 7 : start + 11] in _CONFIRMS):
            tag, multiple = _confirm(buffer, start + 11)
            acked = buffer[start + 10] == _ACK
            self._confirms[channel](tag, multiple & 1 == 1, acked)
            return
        else:
            self._process_frame(frame.decode_frame(buffer[start:stop])[1])
            return
        self.frames_received += 1
        self._deliver_frame_to_channel(content)

    def _deliver(self, channel: int, buffer: bytes, start: int, end: int) -> frame.Frame:
        try:
            deliver = decode_deliver(buffer, start, end)
        except BAD_FRAME as error:
            damage = damage_of(error)
            self._guard.remember(channel, damage)
            payload = substitute(spec.FRAME_METHOD, buffer[start:end], damage)
            deliver = decode_deliver(payload, 0, len(payload))
        return frame.Method(
            channel,
            spec.Basic.Deliver(
                deliver.consumer_tag,
                deliver.tag,
                deliver.redelivered,
                deliver.exchange,
                deliver.routing_key,
            ),
        )

    def _header(self, channel: int, buffer: bytes, start: int, end: int) -> frame.Frame:
        damage = self._guard.pending(channel)
        try:
            size, value = decode_header(buffer, start, end)
        except BAD_FRAME as error:
            size = int.from_bytes(buffer[start + 4 : start + 12], "big")
            value = marked(damage or damage_of(error), buffer[start:end])
        else:
            if damage is not None:
                value = marked(damage, buffer[start:end])
        return frame.Header(channel, size, DecodedProperties(value))
