"""Content headers of bytes that nobody has checked, and those that client libraries die of."""

from __future__ import annotations

import struct


def raw_header(size: int, flags: int, fields: bytes) -> bytes:
    """A content header's payload, of bytes that nobody has checked."""
    return struct.pack(">HHQH", 60, 0, size, flags) + fields


def table(field: bytes) -> bytes:
    """A table's length and its fields."""
    return len(field).to_bytes(4, "big") + field


def _nested(depth: int) -> bytes:
    field = b"\x01kV"
    for _ in range(depth):
        field = b"\x01kF" + table(field)
    return table(field)


# What a stranger can publish and a client library dies of: flags and fields of a content header.
POISON: dict[str, tuple[int, bytes]] = {
    "bad UTF-8 in content_type": (0x8000, b"\x02\xff\xfe"),
    "bad UTF-8 in message_id": (0x0080, b"\x02\xc3\x28"),
    "bad UTF-8 in a header's name": (0x2000, table(b"\x01\xffV")),
    "a timestamp of 2^62": (0x0040, (2**62).to_bytes(8, "big")),
    "a timestamp of 2^62 in a header": (0x2000, table(b"\x01kT" + (2**62).to_bytes(8, "big"))),
    "headers nested 3000 deep": (0x2000, _nested(3000)),
}
