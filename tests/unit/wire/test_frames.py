"""What our encoder writes is what pika writes, and what pika refuses is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import frame, spec

from rabbitjobs.message.properties import Properties
from rabbitjobs.wire.frames import UNENCODABLE, basic_properties, publish_frames
from rabbitjobs.wire.protocol import Outgoing

SHORT = st.none() | st.text(max_size=300) | st.sampled_from(["é" * 127, "é" * 128])
OCTET = st.none() | st.integers(-1, 256)
VALUE: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.text() | st.binary()
    | st.floats() | st.sampled_from([2**31, -(2**31), -(2**31) - 1, 2**31 - 1, "\ud800"])
    | st.sampled_from([Decimal("1.5"), datetime(2026, 1, 1, tzinfo=UTC), object]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
PROPERTIES = st.builds(
    Properties,
    message_id=SHORT,
    type=SHORT,
    content_type=SHORT,
    content_encoding=SHORT,
    correlation_id=SHORT,
    reply_to=SHORT,
    app_id=SHORT,
    priority=OCTET,
    timestamp=st.none() | st.integers(-1, 2**65),
    delivery_mode=st.integers(0, 300),
    headers=st.dictionaries(st.text(max_size=300) | st.just("\ud800"), VALUE, max_size=4),
)


def by_pika(message: Outgoing, channel: int, frame_max: int) -> bytes:
    method = spec.Basic.Publish(
        exchange=message.exchange, routing_key=message.routing_key, mandatory=message.mandatory
    )
    header = frame.Header(channel, len(message.body), basic_properties(message.properties))
    step = frame_max - 8
    bodies = [message.body[at : at + step] for at in range(0, len(message.body), step)]
    parts = [frame.Method(channel, method), header, *(frame.Body(channel, one) for one in bodies)]
    return b"".join(part.marshal() for part in parts)


@given(
    properties=PROPERTIES,
    body=st.binary(max_size=300),
    frame_max=st.sampled_from([109, 4096]),
    key=st.text(max_size=300),
    mandatory=st.booleans(),
)
def test_every_message_is_written_as_pika_writes_it(
    properties: Properties, body: bytes, frame_max: int, key: str, mandatory: bool
) -> None:
    message = Outgoing("shop.jobs", key, properties, body, mandatory)
    try:
        expected = by_pika(message, 7, frame_max)
    except UNENCODABLE as error:
        with pytest.raises(type(error)):
            publish_frames(message, 7, frame_max)
    else:
        assert publish_frames(message, 7, frame_max) == expected
