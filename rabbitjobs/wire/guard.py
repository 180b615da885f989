"""The guard against undecodable frames: one poison message must not stop every worker.

A client library that decodes a message's properties inside its connection dies of bad UTF-8 in a
short string, of a timestamp beyond the year 9999 or of headers nested a thousand deep, and the
broker then hands the same message to the next worker. So these frames are decoded here first,
strictly, and what fails is replaced by a harmless frame of the same kind that carries the reason
and the raw bytes in the headers ``DAMAGE`` and ``RAW``. Nothing here knows a client library.

The layout is that of AMQP 0-9-1, sections 4.2.5 and 4.2.6, with RabbitMQ's errata for the types
of table fields.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from rabbitjobs.message.properties import Properties

DAMAGE = "x-rj-damage"
RAW = "x-rj-raw"

METHOD_FRAME = 1
HEADER_FRAME = 2
DELIVER = 0x003C003C

# A stranger's table may nest; one that nests deeper than this means harm.
DEEPEST = 32
# The last second of the year 9999, in milliseconds: what both client libraries can still show.
_LATEST = 253_402_300_799_999
# Later timestamps were meant as milliseconds.
SECONDS_UP_TO = 0xFFFF_FFFF

_TEXT_KEPT = 500
# What decoding raises for a frame that is not exactly well formed.
BAD_FRAME: tuple[type[Exception], ...] = (ValueError, IndexError, struct.error)

_header = struct.Struct(">HHQH").unpack_from
_method = struct.Struct(">I").unpack_from
_long = struct.Struct(">I").unpack_from
_longlong = struct.Struct(">Q").unpack_from
_decimal = struct.Struct(">Bi").unpack_from
_tail = struct.Struct(">QB").unpack_from

_Scalar = tuple[Callable[..., tuple[Any, ...]], int]
_SCALARS: dict[int, _Scalar] = {
    ord(kind): (struct.Struct(layout).unpack_from, struct.calcsize(layout))
    for kind, layout in {
        "t": ">?", "b": ">b", "B": ">B", "s": ">h", "u": ">H", "I": ">i", "i": ">I",
        "l": ">q", "L": ">q", "f": ">f", "d": ">d",
    }.items()
}  # fmt: skip


class Damage(msgspec.Struct, frozen=True):
    """Why a frame cannot be decoded."""

    reason: str


class Deliver(msgspec.Struct, frozen=True, gc=False):
    """The fields of a ``basic.deliver`` method frame."""

    consumer_tag: str
    tag: int
    redelivered: bool
    exchange: str
    routing_key: str


def decode_header(data: bytes, start: int, end: int) -> tuple[int, Properties]:
    """Read the content header in ``data[start:end]``: the body's size in bytes, the properties.

    Raises one of ``BAD_FRAME`` (see ``damage_of``) for whatever is not exactly well formed.
    """
    class_id, _, size, flags = _header(data, start)
    if class_id != 60 or flags & 3:
        raise ValueError(f"class {class_id} with property flags {flags:#06x}")
    at = start + 14
    content_type = content_encoding = correlation_id = reply_to = None
    message_id = kind = app_id = priority = timestamp = None
    headers: dict[str, Any] = {}
    mode = 1
    if flags & 0x8000:
        content_type, at = _short(data, at)
    if flags & 0x4000:
        content_encoding, at = _short(data, at)
    if flags & 0x2000:
        stop = at + 4 + _long(data, at)[0]
        headers = _table(data, at + 4, stop, end, DEEPEST)
        at = stop
        if DAMAGE in headers or RAW in headers:
            raise ValueError(f"the reserved header {DAMAGE} or {RAW} in a message from outside")
    if flags & 0x1000:
        mode = data[at]
        at += 1
    if flags & 0x0800:
        priority = data[at]
        at += 1
    if flags & 0x0400:
        correlation_id, at = _short(data, at)
    if flags & 0x0200:
        reply_to, at = _short(data, at)
    if flags & 0x0100:
        _, at = _short(data, at)
    if flags & 0x0080:
        message_id, at = _short(data, at)
    if flags & 0x0040:
        timestamp = _time(data, at)
        at += 8
    if flags & 0x0020:
        kind, at = _short(data, at)
    if flags & 0x0010:
        _, at = _short(data, at)
    if flags & 0x0008:
        app_id, at = _short(data, at)
    if flags & 0x0004:
        _, at = _short(data, at)
    if at != end:
        raise ValueError(f"the properties end at byte {at - start} of {end - start}")
    return size, Properties(
        message_id, kind, content_type, content_encoding, correlation_id, reply_to, app_id,
        priority, timestamp, mode, headers,
    )  # fmt: skip


def decode_deliver(data: bytes, start: int, end: int) -> Deliver:
    """Read the ``basic.deliver`` whose method frame's payload is ``data[start:end]``.

    Raises as ``decode_header`` does.
    """
    consumer, at = _short(data, start + 4)
    tag, bits = _tail(data, at)
    exchange, routing_key = decode_route(data[at + 9 : end])
    return Deliver(consumer, tag, bits & 1 == 1, exchange, routing_key)


def decode_route(route: bytes) -> tuple[str, str]:
    """The exchange and the routing key at the end of a ``basic.deliver``, and nothing after them.

    Raises as ``decode_header`` does.
    """
    exchange, at = _short(route, 0)
    routing_key, at = _short(route, at)
    if at != len(route):
        raise ValueError(f"basic.deliver has {len(route)} bytes of route, read {at}")
    return exchange, routing_key


def inspect(frame_type: int, payload: bytes) -> Damage | None:
    """Say whether decoding this frame's payload would go wrong; ``None`` for a healthy frame.

    Looks at content headers and ``basic.deliver``; everything else comes from the broker itself.
    """
    try:
        if frame_type == HEADER_FRAME:
            decode_header(payload, 0, len(payload))
        elif frame_type == METHOD_FRAME and _method(payload)[0] == DELIVER:
            decode_deliver(payload, 0, len(payload))
    except BAD_FRAME as error:
        return damage_of(error)
    return None


def damage_of(error: Exception) -> Damage:
    """The damage that an error from decoding stands for."""
    if isinstance(error, UnicodeDecodeError):
        return Damage(f"bad UTF-8 in {bytes(error.object)!r}"[:_TEXT_KEPT])
    if isinstance(error, ValueError):
        return Damage(str(error)[:_TEXT_KEPT])
    return Damage("the frame ends in the middle of a field")


def substitute(frame_type: int, payload: bytes, damage: Damage) -> bytes:
    """A harmless payload of the same kind, for a damaged header or ``basic.deliver`` frame.

    A header keeps its body size and carries the damage and the whole original; a deliver frame
    keeps its consumer and its tag, and shows undecodable bytes as escapes. A payload too short to
    know even that comes back unchanged: it is a broken broker, not a poison message.
    """
    if frame_type == HEADER_FRAME:
        return _marked_header(payload, damage)
    try:
        return _escaped_deliver(payload)
    except BAD_FRAME:
        return payload


def marked(damage: Damage, raw: bytes) -> Properties:
    """The properties that stand for those that could not be decoded."""
    return Properties(delivery_mode=1, headers={DAMAGE: damage.reason, RAW: raw})


def read_damage(headers: Mapping[str, Any]) -> tuple[str, bytes] | None:
    """The reason and the raw header payload, if these headers mark a damaged message.

    A stranger who sends these headers past the guard gets his own message quarantined, no more.
    """
    if DAMAGE not in headers and RAW not in headers:
        return None
    raw = headers.get(RAW)
    reason = headers.get(DAMAGE, "the headers carry a reserved name")
    return str(reason)[:_TEXT_KEPT], bytes(raw) if isinstance(raw, bytes | bytearray) else b""


class Guard:
    """What one connection has seen: it keeps a damaged ``basic.deliver`` until its header comes.

    The channel's number ties the two frames together: on one channel the frames of one message
    follow each other without another message's between them.
    """

    def __init__(self) -> None:
        self._pending: dict[int, Damage] = {}

    def pass_on(self, frame_type: int, channel: int, payload: bytes) -> bytes:
        """The payload itself if it is healthy, else its substitute."""
        damage = inspect(frame_type, payload)
        if frame_type == METHOD_FRAME:
            if damage is None:
                return payload
            self.remember(channel, damage)
        elif self._pending:
            damage = self.pending(channel) or damage
        return payload if damage is None else substitute(frame_type, payload, damage)

    def remember(self, channel: int, damage: Damage) -> None:
        """The deliver frame of the message now coming on ``channel`` was damaged."""
        self._pending[channel] = damage

    def pending(self, channel: int) -> Damage | None:
        """The damage of the deliver frame before this header; asking takes it away."""
        return self._pending.pop(channel, None)


def _short(data: bytes, at: int) -> tuple[str, int]:
    stop = at + 1 + data[at]
    return data[at + 1 : stop].decode(), stop


def _time(data: bytes, at: int) -> int:
    """Unix seconds; what lies beyond 2106 was meant as milliseconds (pamqp reads it so too)."""
    value: int = _longlong(data, at)[0]
    if value > _LATEST:
        raise ValueError(f"the timestamp {value} lies beyond the year 9999")
    return value if value <= SECONDS_UP_TO else value // 1000


def _table(data: bytes, at: int, stop: int, end: int, depth: int) -> dict[str, Any]:
    if stop > end or not depth:
        raise ValueError(_TOO_LONG if depth else _TOO_DEEP)
    fields: dict[str, Any] = {}
    while at < stop:
        value_at = at + 1 + data[at]
        key = data[at + 1 : value_at].decode()
        fields[key], at = _value(data, value_at, stop, depth)
    if at != stop:
        raise ValueError(_TOO_LONG)
    return fields


def _array(data: bytes, at: int, stop: int, end: int, depth: int) -> list[Any]:
    if stop > end or not depth:
        raise ValueError(_TOO_LONG if depth else _TOO_DEEP)
    items: list[Any] = []
    while at < stop:
        item, at = _value(data, at, stop, depth)
        items.append(item)
    if at != stop:
        raise ValueError(_TOO_LONG)
    return items


_TOO_LONG = "a table or array whose fields do not end where it ends"
_TOO_DEEP = f"headers nested more than {DEEPEST} deep"


def _value(data: bytes, at: int, end: int, depth: int) -> tuple[Any, int]:
    kind = data[at]
    at += 1
    if kind == 83 or kind == 120:  # S, x
        stop = at + 4 + _long(data, at)[0]
        raw = data[at + 4 : stop]
        return (_text_or_bytes(raw) if kind == 83 else raw), stop
    scalar = _SCALARS.get(kind)
    if scalar is not None:
        return scalar[0](data, at)[0], at + scalar[1]
    return _rare_value(kind, data, at, end, depth)


def _text_or_bytes(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _rare_value(kind: int, data: bytes, at: int, end: int, depth: int) -> tuple[Any, int]:
    match chr(kind):
        case "F":
            stop = at + 4 + _long(data, at)[0]
            return _table(data, at + 4, stop, end, depth - 1), stop
        case "A":
            stop = at + 4 + _long(data, at)[0]
            return _array(data, at + 4, stop, end, depth - 1), stop
        case "T":
            return _time(data, at), at + 8
        case "V":
            return None, at
        case "D":
            places, unscaled = _decimal(data, at)
            return Decimal(unscaled).scaleb(-places), at + 5
        case unknown:
            raise ValueError(f"a table field of the unknown type {unknown!r}")


def _marked_header(payload: bytes, damage: Damage) -> bytes:
    if len(payload) < 12:
        return payload
    reason = damage.reason.encode(errors="backslashreplace")
    table = b"".join(
        bytes([len(key)]) + key.encode() + kind + len(value).to_bytes(4, "big") + value
        for key, kind, value in ((DAMAGE, b"S", reason), (RAW, b"x", payload))
    )
    flags = (0x2000).to_bytes(2, "big")
    return b"\x00\x3c\x00\x00" + payload[4:12] + flags + len(table).to_bytes(4, "big") + table


def _escaped_deliver(payload: bytes) -> bytes:
    consumer_stop = 5 + payload[4]
    exchange_at = consumer_stop + 9
    routing_at = exchange_at + 1 + payload[exchange_at]
    exchange = payload[exchange_at + 1 : routing_at]
    routing_key = payload[routing_at + 1 : routing_at + 1 + payload[routing_at]]
    return payload[:exchange_at] + _escaped(exchange) + _escaped(routing_key)


def _escaped(raw: bytes) -> bytes:
    text = raw.decode(errors="backslashreplace").encode()[:255]
    text = text.decode(errors="ignore").encode()
    return bytes([len(text)]) + text
