"""Content headers of our own making, read by their places instead of field by field.

A worker mostly gets what rabbitjobs sends: the same properties in the same order, and the same
five headers. Whatever is not exactly so is read by ``guard.decode_header``, as all that strangers
send: it takes twice as long.
"""

from __future__ import annotations

import struct

from rabbitjobs.message import headers as h
from rabbitjobs.message.properties import Properties
from rabbitjobs.wire.guard import SECONDS_UP_TO, decode_header

_FIELDS = [h.V, h.ID, h.QUEUE, h.ATTEMPT, h.ENQUEUED]
_ID_BYTES = 36
# Content type, headers, delivery mode, message id, timestamp and type; maybe priority and app id.
_FLAGS = 0xB0E0
_PRIORITY = 0x0800
_APP_ID = 0x0008
# Jobs of so many names are told apart on one queue; strangers must not fill the memory.
_NAMES_KEPT = 256
_FLAGS_AT = 12
_BASIC = 60 << 16
_seconds = struct.Struct(">Q").unpack_from


class OwnHeaders:
    """Reads the content headers of one queue; it learns their shapes from the first of ours."""

    def __init__(self) -> None:
        self._shapes: dict[bytes, _Shape] = {}

    def decode(self, data: bytes, start: int, end: int) -> tuple[int, Properties]:
        """As ``guard.decode_header``: the same result, and the same errors."""
        flags = data[start + _FLAGS_AT : start + _FLAGS_AT + 2]
        shape = self._shapes.get(flags)
        found = shape.read(data, start, end) if shape is not None else None
        if found is not None:
            return found
        found = decode_header(data, start, end)
        if _is_ours(flags, found[1]):
            if shape is None:
                shape = self._shapes[flags] = _Shape(flags, found[1])
            shape.learn(data, start, end, found)
        return found


def _is_ours(flags: bytes, properties: Properties) -> bool:
    headers = properties.headers
    return (
        int.from_bytes(flags, "big") & ~(_PRIORITY | _APP_ID) == _FLAGS
        and list(headers) == _FIELDS
        and headers[h.V] == h.VERSION
        and isinstance(headers[h.QUEUE], str)
    )


class _Shape:
    """Where everything is in headers with these flags; its fixed parts are those of the first."""

    def __init__(self, flags: bytes, properties: Properties) -> None:
        self._content_type = properties.content_type
        self._queue = properties.headers[h.QUEUE]
        self._has_priority = bool(int.from_bytes(flags, "big") & _PRIORITY)
        queue = self._queue.encode()
        version = _name(h.V) + b"I" + h.VERSION.to_bytes(4, "big")
        identity = _name(h.ID) + b"S" + _ID_BYTES.to_bytes(4, "big")
        self._between = (
            _name(h.QUEUE) + b"S" + len(queue).to_bytes(4, "big") + queue + _name(h.ATTEMPT) + b"I"
        )
        self._after = _name(h.ENQUEUED) + b"l"
        fixed = len(version) + len(identity) + len(self._between) + len(self._after)
        table = (fixed + _ID_BYTES + 4 + 8).to_bytes(4, "big")
        kind = (self._content_type or "").encode()
        self._before = flags + bytes([len(kind)]) + kind + table + version + identity
        layout = struct.Struct(
            f">IQ{len(self._before)}s{_ID_BYTES}s{len(self._between)}si{len(self._after)}sqB"
        )
        self._unpack, self._size = layout.unpack_from, layout.size
        # What stands at the end, the job's name and the app id: as bytes, and decoded.
        self._names: dict[bytes, tuple[str | None, str | None]] = {}

    def read(self, data: bytes, start: int, end: int) -> tuple[int, Properties] | None:
        """The body's size and the properties, if this header has the shape and a known name."""
        if end - start <= self._size:
            return None
        basic, size, before, job_id, between, attempt, after, enqueued, mode = self._unpack(
            data, start
        )
        if (
            before != self._before
            or between != self._between
            or after != self._after
            or basic != _BASIC
        ):
            return None
        at = start + self._size
        priority = None
        if self._has_priority:
            priority = data[at]
            at += 1
        stop = at + 1 + data[at]
        names = self._names.get(data[stop + 8 : end])
        (timestamp,) = _seconds(data, stop)
        if names is None or timestamp > SECONDS_UP_TO:
            return None
        try:
            texts = data[at + 1 : stop].decode(), job_id.decode()
        except UnicodeDecodeError:
            return None
        headers = {
            h.V: h.VERSION,
            h.ID: texts[1],
            h.QUEUE: self._queue,
            h.ATTEMPT: attempt,
            h.ENQUEUED: enqueued,
        }
        return size, Properties(
            texts[0], names[0], self._content_type, None, None, None, names[1],
            priority, timestamp, mode, headers,
        )  # fmt: skip

    def learn(self, data: bytes, start: int, end: int, found: tuple[int, Properties]) -> None:
        """Know the names of this header, which was read as ``found``, the next time."""
        at = start + self._size + self._has_priority
        if at >= end or len(self._names) >= _NAMES_KEPT:
            return
        names = data[at + 1 + data[at] + 8 : end]
        if names not in self._names:
            self._names[names] = (found[1].type, found[1].app_id)
            # A stranger's header of another shape has other bytes in that place.
            if self.read(data, start, end) != found:
                del self._names[names]


def _name(header: str) -> bytes:
    return bytes([len(header)]) + header.encode()
