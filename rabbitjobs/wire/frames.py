"""Messages as AMQP frames: the one encoder under every wire.

So what AMQP cannot carry is refused alike by all of them, before a byte is written. What is usual
is encoded here, where pika takes five times as long; the rest, and every error, is pika's.
"""

from __future__ import annotations

import functools
import struct
from typing import Any

import pika
import pika.exceptions
from pika import data, frame, spec

from rabbitjobs.message.properties import Properties
from rabbitjobs.wire.protocol import Outgoing

# What pika raises, before a byte is written, for a message that AMQP cannot carry.
UNENCODABLE = (pika.exceptions.AMQPError, ValueError, AssertionError, TypeError, struct.error)
# What our own encoder stumbles over; pika's then says what is wrong, or can do it.
_UNUSUAL = (ValueError, TypeError, AttributeError, IndexError, struct.error)
_FRAME_OVERHEAD = 8
_BasicProperties: Any = pika.BasicProperties
_encode_value: Any = data.encode_value

_frame_head = struct.Struct(">BHI").pack
# An end of frame, and the head of the next one.
_next_frame = struct.Struct(">BBHI").pack
_header_head = struct.Struct(">BHIHHQH").pack
_long = struct.Struct(">I").pack
_octet = struct.Struct(">B").pack
_longlong = struct.Struct(">Q").pack
_small = struct.Struct(">ci").pack
_large = struct.Struct(">cq").pack
_LENGTHS = tuple(bytes([number]) for number in range(256))
_END = bytes([spec.FRAME_END])


def basic_properties(ours: Properties) -> pika.BasicProperties:
    """Our properties as pika's."""
    made: pika.BasicProperties = _BasicProperties(
        content_type=ours.content_type,
        content_encoding=ours.content_encoding,
        headers=ours.headers,
        delivery_mode=ours.delivery_mode,  # pyright: ignore[reportArgumentType]
        priority=ours.priority,
        correlation_id=ours.correlation_id,
        reply_to=ours.reply_to,
        message_id=ours.message_id,
        timestamp=ours.timestamp,
        type=ours.type,
        app_id=ours.app_id,
    )
    return made


def header_payload(message: Outgoing) -> bytes:
    """The payload of the message's content header frame. Raises one of ``UNENCODABLE``."""
    return _header(1, len(message.body), message.properties)[7:]


def publish_frames(message: Outgoing, channel: int, frame_max: int) -> bytes:
    """All frames of one publish: method, header, bodies. Raises one of ``UNENCODABLE``."""
    body = message.body
    size, step = len(body), frame_max - _FRAME_OVERHEAD
    method = _method(channel, message.exchange, message.routing_key, message.mandatory)
    header = _header(channel, size, message.properties)
    if 0 < size <= step:
        head = _next_frame(spec.FRAME_END, spec.FRAME_BODY, channel, size)
        return b"".join((method, header, head, body, _END))
    parts = [method, header, _END]
    for at in range(0, size, step):
        piece = body[at : at + step]
        parts += (_frame_head(spec.FRAME_BODY, channel, len(piece)), piece, _END)
    return b"".join(parts)


# Routes are few and come again and again.
@functools.lru_cache(maxsize=1024)
def _method(channel: int, exchange: str, routing_key: str, mandatory: bool) -> bytes:
    method = spec.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=mandatory)
    whole: bytes = frame.Method(channel, method).marshal()
    return whole


def _header(channel: int, size: int, properties: Properties) -> bytes:
    """The content header frame without its end."""
    try:
        return _usual_header(channel, size, properties)
    except _UNUSUAL:
        whole: bytes = frame.Header(channel, size, basic_properties(properties)).marshal()
        return whole[:-1]


def _usual_header(channel: int, size: int, ours: Properties) -> bytes:
    flags = 0x3000
    before = b""
    if ours.content_type is not None:
        flags |= 0x8000
        before = _repeated_short(ours.content_type)
    if ours.content_encoding is not None:
        flags |= 0x4000
        before += _repeated_short(ours.content_encoding)
    fields = _fields(ours.headers)
    parts = [b"", before, _long(len(fields)), fields, _octet(ours.delivery_mode)]
    if ours.priority is not None:
        flags |= 0x0800
        parts.append(_octet(ours.priority))
    if ours.correlation_id is not None:
        flags |= 0x0400
        parts.append(_short(ours.correlation_id))
    if ours.reply_to is not None:
        flags |= 0x0200
        parts.append(_short(ours.reply_to))
    if ours.message_id is not None:
        flags |= 0x0080
        parts.append(_short(ours.message_id))
    if ours.timestamp is not None:
        flags |= 0x0040
        parts.append(_longlong(ours.timestamp))
    if ours.type is not None:
        flags |= 0x0020
        parts.append(_repeated_short(ours.type))
    if ours.app_id is not None:
        flags |= 0x0008
        parts.append(_repeated_short(ours.app_id))
    payload = b"".join(parts)
    head = _header_head(spec.FRAME_HEADER, channel, 14 + len(payload), 60, 0, size, flags)
    return head + payload


def _fields(headers: dict[str, Any]) -> bytes:
    parts: list[bytes] = []
    for key, value in headers.items():
        kind = type(value)
        if kind is str:
            raw = value.encode()
            parts += (_repeated_short(key), b"S", _long(len(raw)), raw)
        elif kind is int:
            small = -0x8000_0000 <= value <= 0x7FFF_FFFF
            parts += (_repeated_short(key), _small(b"I", value) if small else _large(b"l", value))
        else:
            parts.append(_repeated_short(key))
            _encode_value(parts, value)
    return b"".join(parts)


def _short(text: str) -> bytes:
    raw = text.encode()
    return _LENGTHS[len(raw)] + raw


# For names: of jobs, headers, content types.
_repeated_short = functools.lru_cache(maxsize=1024)(_short)


def culprit(flying: list[Outgoing], text: str) -> Outgoing | None:
    """Which message closed the channel: the only one, or the first to the exchange it names."""
    if len(flying) == 1:
        return flying[0]
    named = [message for message in flying if f"exchange '{message.exchange}'" in text]
    return named[0] if named else None
