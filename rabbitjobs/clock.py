"""Time and identity: the current time, sortable ids, durations with their unit."""

from __future__ import annotations

import os
import re
import struct
import threading
import time
from collections.abc import Iterator
from datetime import timedelta

UNITS: dict[str, float] = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")

_uuid7_lock = threading.Lock()
_uuid7_last = 0
# Random bytes for so many ids at once: each system call lets another thread have the interpreter.
_RANDOM_KEPT = 128
_uuid7_random: Iterator[tuple[int]] = iter(())


def _begin_anew() -> None:
    global _uuid7_lock, _uuid7_random
    _uuid7_lock, _uuid7_random = threading.Lock(), iter(())


# Another thread of the parent may have held the lock at the moment of the fork, and its random
# bytes are for its own ids.
os.register_at_fork(after_in_child=_begin_anew)


def now() -> float:
    """The wall clock in seconds since 1970 UTC; comparable between processes, may jump."""
    return time.time()


def uuid7() -> str:
    """A UUID version 7 (RFC 9562): sorts by creation time, and is strictly rising in one process.

    The 12 bits after the millisecond count further ids of the same millisecond (method 1 of
    section 6.2), so a batch sent in one millisecond keeps its order.
    """
    global _uuid7_last, _uuid7_random
    with _uuid7_lock:
        stamp = time.time_ns() // 1_000_000 << 12
        _uuid7_last = stamp if stamp > _uuid7_last else _uuid7_last + 1
        stamp = _uuid7_last
        random = next(_uuid7_random, None)
        if random is None:
            _uuid7_random = struct.iter_unpack(">Q", os.urandom(8 * _RANDOM_KEPT))
            random = next(_uuid7_random)
    value = (stamp >> 12 & (1 << 48) - 1) << 80
    value |= 7 << 76 | (stamp & 0xFFF) << 64 | 2 << 62
    value |= random[0] >> 2
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def derived_id(parent: str, attempt: int, role: str) -> str:
    """The id of what follows from one attempt of a job: the same for the same three.

    A UUID version 8 (RFC 9562) of their SHA-256. Give different roles to what differs: two jobs
    with one id are one job.
    """
    import hashlib

    digest = hashlib.sha256(f"{len(parent)}:{parent}:{attempt}:{role}".encode()).digest()
    value = int.from_bytes(digest[:16], "big") & ~(0xF << 76 | 0x3 << 62) | 8 << 76 | 2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def parse_duration(text: str) -> timedelta:
    """Read a duration with its unit: ``250ms``, ``5s``, ``10m``, ``1h30m``, ``7d``, ``2w``.

    Raises ``ValueError`` for anything else, a bare number included: its unit would be a guess.
    """
    compact = text.strip().replace(" ", "")
    parts = _DURATION.findall(compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact:
        raise ValueError(f"expected a duration such as 5s, 10m or 1h30m, got {text!r}")
    return timedelta(seconds=sum(float(number) * UNITS[unit] for number, unit in parts))


def format_duration(duration: timedelta) -> str:
    """The shortest text that ``parse_duration`` reads back: ``90s`` is ``1m30s``."""
    left = round(duration.total_seconds() * 1000)
    if left <= 0:
        return "0s"
    text = ""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left = divmod(left, size)
        text += f"{count}{unit}" if count else ""
    return text
