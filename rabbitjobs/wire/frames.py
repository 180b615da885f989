"""Messages as AMQP frames, encoded by pika: the one encoder under every wire.

So what AMQP cannot carry is refused alike by all of them, before a byte is written.
"""

from __future__ import annotations

import struct
from typing import Any

import pika
import pika.exceptions
from pika import frame, spec

from rabbitjobs.message.properties import Properties
from rabbitjobs.wire.protocol import Outgoing

# What pika raises, before a byte is written, for a message that AMQP cannot carry.
UNENCODABLE = (pika.exceptions.AMQPError, ValueError, AssertionError, TypeError, struct.error)
_FRAME_OVERHEAD = 8
_BasicProperties: Any = pika.BasicProperties


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
    properties = basic_properties(message.properties)
    whole: bytes = frame.Header(1, len(message.body), properties).marshal()
    return whole[7:-1]


def publish_frames(message: Outgoing, channel: int, frame_max: int) -> bytes:
    """All frames of one publish: method, header, bodies. Raises one of ``UNENCODABLE``."""
    method = spec.Basic.Publish(
        exchange=message.exchange, routing_key=message.routing_key, mandatory=message.mandatory
    )
    properties = basic_properties(message.properties)
    parts: list[bytes] = [
        frame.Method(channel, method).marshal(),
        frame.Header(channel, len(message.body), properties).marshal(),
    ]
    step = frame_max - _FRAME_OVERHEAD
    parts += (
        frame.Body(channel, message.body[at : at + step]).marshal()
        for at in range(0, len(message.body), step)
    )
    return b"".join(parts)


def culprit(flying: list[Outgoing], text: str) -> Outgoing | None:
    """Which message closed the channel: the only one, or the first to the exchange it names."""
    if len(flying) == 1:
        return flying[0]
    named = [message for message in flying if f"exchange '{message.exchange}'" in text]
    return named[0] if named else None
