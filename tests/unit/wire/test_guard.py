"""The guard decodes what is well formed exactly, and lets nothing through that kills a client."""

from __future__ import annotations

import struct
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pamqp.frame
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pika import frame as pika_frame
from pika import spec

from rabbitjobs.wire.guard import (
    BAD_FRAME,
    DAMAGE,
    DEEPEST,
    HEADER_FRAME,
    METHOD_FRAME,
    RAW,
    Damage,
    Guard,
    decode_deliver,
    decode_header,
    inspect,
    read_damage,
    substitute,
)

Table = dict[str, Any]


def header(body_size: int = 5, **fields: Any) -> bytes:
    """A header frame's payload, as pika writes it."""
    raw: bytes = pika_frame.Header(1, body_size, spec.BasicProperties(**fields)).marshal()
    return raw[7:-1]


def deliver(exchange: bytes = b"shop.jobs", routing_key: bytes = b"emails") -> bytes:
    """A basic.deliver frame's payload."""
    short = [bytes([len(text)]) + text for text in (b"ctag1", exchange, routing_key)]
    return struct.pack(">HH", 60, 60) + short[0] + struct.pack(">QB", 7, 1) + short[1] + short[2]


def framed(kind: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, 1, len(payload)) + payload + b"\xce"


def raw_table(field: bytes) -> bytes:
    """A header frame whose table holds these bytes."""
    return b"\x00\x3c\x00\x00" + bytes(8) + b"\x20\x00" + len(field).to_bytes(4, "big") + field


def nested(depth: int) -> bytes:
    field = b"\x01kV"
    for _ in range(depth):
        field = b"\x01kF" + len(field).to_bytes(4, "big") + field
    return raw_table(field)


def test_every_property_is_read_as_it_was_written() -> None:
    payload = header(
        body_size=2**33,
        message_id="m",
        type="shop.mail.보내기",
        content_type="application/json",
        content_encoding="zstd",
        correlation_id="c",
        reply_to="r",
        app_id="a",
        priority=9,
        timestamp=1_764_000_000,
        delivery_mode=2,
        expiration="1",
        user_id="guest",
        cluster_id="x",
        headers={"n": 1, "s": "텍스트", "l": [1, "a", {"k": None}], "b": b"\xff", "t": True},
    )
    size, value = decode_header(payload, 0, len(payload))
    assert size == 2**33
    assert (value.message_id, value.type, value.app_id) == ("m", "shop.mail.보내기", "a")
    assert (value.content_type, value.content_encoding) == ("application/json", "zstd")
    assert (value.correlation_id, value.reply_to) == ("c", "r")
    assert (value.priority, value.timestamp, value.delivery_mode) == (9, 1_764_000_000, 2)
    assert value.headers == {
        "n": 1, "s": "텍스트", "l": [1, "a", {"k": None}], "b": b"\xff", "t": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"b\xff", -1),
        (b"B\xff", 255),
        (b"s\xff\xfe", -2),
        (b"u\xff\xfe", 65534),
        (b"I\xff\xff\xff\xff", -1),
        (b"i\xff\xff\xff\xff", 2**32 - 1),
        (b"l" + b"\xff" * 8, -1),
        (b"L" + b"\xff" * 8, -1),
        (b"f\x3f\x80\x00\x00", 1.0),
        (b"d" + struct.pack(">d", 1.5), 1.5),
        (b"D\x02\x00\x00\x00\x7b", Decimal("1.23")),
        (b"T" + struct.pack(">Q", 1_764_000_000), 1_764_000_000),
        (b"T" + struct.pack(">Q", 1_764_000_000_000), 1_764_000_000),
        (b"S\x00\x00\x00\x01\xff", b"\xff"),
        (b"t\x01", True),
        (b"V", None),
    ],
)
def test_every_type_of_field_is_read(field: bytes, value: object) -> None:
    payload = raw_table(b"\x01k" + field)
    assert decode_header(payload, 0, len(payload))[1].headers == {"k": value}
    pamqp.frame.unmarshal(framed(2, payload))


def test_an_infinite_double_in_a_header_is_healthy() -> None:
    payload = raw_table(b"\x01kd" + struct.pack(">d", float("inf")))
    assert inspect(HEADER_FRAME, payload) is None


def test_a_frame_is_read_in_the_middle_of_a_buffer() -> None:
    payload = header(message_id="m", headers={"k": "v"})
    size, value = decode_header(b"before" + payload + b"after", 6, 6 + len(payload))
    assert (size, value.message_id, value.headers) == (5, "m", {"k": "v"})


POISON = {
    "bad UTF-8 in content_type": header(content_type=b"\xff\xfe"),
    "bad UTF-8 in message_id": header(message_id=b"\xc3\x28"),
    "bad UTF-8 in a header's name": raw_table(b"\x01\xffV"),
    "a timestamp of 2^62": header(timestamp=2**62),
    "a timestamp of 2^62 in a header": raw_table(b"\x01kT" + struct.pack(">Q", 2**62)),
    "headers nested 3000 deep": nested(3000),
    "arrays nested 3000 deep": raw_table(b"\x01k" + b"A\x00\x00\x00\x00" * 3000),
    "an unknown type of field": raw_table(b"\x01k?"),
    "a table longer than the frame": raw_table(b"\x01kF\xff\xff\xff\xff"),
    "a string longer than the frame": raw_table(b"\x01kS\xff\xff\xff\xff"),
    "a field that runs over its table": raw_table(b"\x01kF\x00\x00\x00\x03\x01kl" + bytes(8)),
    "bytes left over": header() + b"\x00",
    "a truncated header": header(message_id="0123456789")[:-4],
    "unknown property flags": b"\x00\x3c\x00\x00" + bytes(8) + b"\x00\x01\x00\x00",
    "the reserved header": header(headers={DAMAGE: "fake"}),
}


@pytest.mark.parametrize("name", POISON)
def test_a_poison_header_is_named_and_its_substitute_is_harmless_and_carries_it(name: str) -> None:
    payload = POISON[name]
    damage = inspect(HEADER_FRAME, payload)
    assert damage is not None and damage.reason
    replaced = framed(HEADER_FRAME, substitute(HEADER_FRAME, payload, damage))
    decoded: Any = pamqp.frame.unmarshal(replaced)[2]
    assert decoded.body_size == int.from_bytes(payload[4:12], "big")
    assert read_damage(decoded.properties.headers) == (damage.reason, payload)
    _, decoded = pika_frame.decode_frame(replaced)
    assert read_damage(decoded.properties.headers) == (damage.reason, payload)


def test_nesting_is_allowed_up_to_the_limit() -> None:
    assert inspect(HEADER_FRAME, nested(DEEPEST - 1)) is None
    assert inspect(HEADER_FRAME, nested(DEEPEST)) is not None


def test_a_poison_routing_key_is_escaped_and_consumer_and_tag_stay() -> None:
    payload = deliver(routing_key=b"\xff" * 255)
    damage = inspect(METHOD_FRAME, payload)
    assert damage is not None
    replaced = substitute(METHOD_FRAME, payload, damage)
    value = decode_deliver(replaced, 0, len(replaced))
    assert (value.consumer_tag, value.tag, value.redelivered) == ("ctag1", 7, True)
    assert value.exchange == "shop.jobs"
    assert value.routing_key.startswith("\\xff\\xff")
    pamqp.frame.unmarshal(framed(METHOD_FRAME, replaced))


def test_the_header_after_a_damaged_deliver_carries_its_damage_once() -> None:
    guard = Guard()
    guard.pass_on(METHOD_FRAME, 3, deliver(routing_key=b"\xff"))
    healthy = header(message_id="m")
    assert guard.pass_on(HEADER_FRAME, 4, healthy) == healthy
    marked = guard.pass_on(HEADER_FRAME, 3, healthy)
    decoded: Any = pamqp.frame.unmarshal(framed(HEADER_FRAME, marked))[2]
    reason, raw = read_damage(decoded.properties.headers) or ("", b"")
    assert "UTF-8" in reason and raw == healthy
    assert guard.pass_on(HEADER_FRAME, 3, healthy) == healthy


def test_a_frame_too_short_to_repair_is_left_to_the_library() -> None:
    assert substitute(HEADER_FRAME, b"\x00", Damage("short")) == b"\x00"
    assert substitute(METHOD_FRAME, b"\x00\x3c\x00\x3c", Damage("short")) == b"\x00\x3c\x00\x3c"


def test_other_methods_and_bodies_are_not_looked_at() -> None:
    assert inspect(METHOD_FRAME, b"\x00\x3c\x00\x50\xff") is None
    assert inspect(3, b"\xff\xff") is None


@pytest.mark.parametrize("faked", [1, None, {"a": 1}, ["x"], b"\xff", "x" * 10_000])
def test_a_faked_mark_of_any_type_is_read_as_damage_and_breaks_nothing(faked: object) -> None:
    for headers in ({DAMAGE: faked}, {RAW: faked}, {DAMAGE: faked, RAW: faked}):
        damage = read_damage(headers)
        assert damage is not None
        assert isinstance(damage[0], str) and len(damage[0]) <= 500
        assert isinstance(damage[1], bytes)
    assert read_damage({"other": faked}) is None


def survives(kind: int, payload: bytes) -> None:
    """What the guard calls healthy must be decodable by pamqp, or it would end a connection."""
    pamqp.frame.unmarshal(framed(kind, payload))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.sampled_from([0x2000, 0xA000, 0x80C8, 0xFFFC]))
def test_no_bytes_at_all_get_past_the_guard_and_kill_the_library(rest: bytes, flags: int) -> None:
    payload = b"\x00\x3c\x00\x00" + bytes(8) + flags.to_bytes(2, "big") + rest
    damage = inspect(HEADER_FRAME, payload)
    survives(HEADER_FRAME, substitute(HEADER_FRAME, payload, damage) if damage else payload)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_healthy_header_with_any_byte_changed_is_still_safe(data: st.DataObject) -> None:
    payload = bytearray(
        header(
            content_type="application/json",
            message_id="0123",
            timestamp=1_764_000_000,
            headers={"a": {"b": [1, "x", datetime(2026, 1, 1, tzinfo=UTC)]}, "d": Decimal("1.5")},
        )
    )
    at = data.draw(st.integers(12, len(payload) - 1))
    payload[at] = data.draw(st.integers(0, 255))
    changed = bytes(payload)
    damage = inspect(HEADER_FRAME, changed)
    survives(HEADER_FRAME, substitute(HEADER_FRAME, changed, damage) if damage else changed)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80))
def test_decoding_any_bytes_raises_nothing_but_what_is_caught(payload: bytes) -> None:
    for decode in (decode_header, decode_deliver):
        with suppress(*BAD_FRAME):
            decode(payload, 0, len(payload))
