"""A call: a job with its arguments and options, as a value that can be sent later."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from rabbitjobs.message.codec import SHORT_BYTES, TEXT_BYTES

if TYPE_CHECKING:
    from rabbitjobs.job.definition import Definition


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How one call is sent. ``None`` means: as the job or the config says.

    ``delay`` and ``at`` say when it is due at the earliest (a moment that has passed: now),
    ``expires`` after how long (or at which moment) it is no longer worth running; no duration
    may be negative. ``unique`` is a key: while a job with this key
    has not ended, another send returns the handle of that one. ``tag`` is a word that many jobs
    share: ``app.cancel(tag=...)`` ends them all. ``timeout`` is the deadline of
    the publish in seconds. ``tx`` is an open SQLAlchemy connection or session: the job is sent
    if and only if that transaction commits. ``on_done`` is a URL that gets a webhook.
    """

    id: str | None = None
    queue: str | None = None
    priority: str | None = None
    delay: timedelta | None = None
    at: datetime | None = None
    expires: timedelta | datetime | None = None
    unique: str | None = None
    tag: str | None = None
    timeout: float | None = None
    tx: Any = None
    on_done: str | None = None


_KINDS: dict[str, tuple[type, ...]] = {
    "id": (str,),
    "queue": (str,),
    "priority": (str,),
    "delay": (timedelta,),
    "at": (datetime,),
    "expires": (timedelta, datetime),
    "unique": (str,),
    "tag": (str,),
    "timeout": (int, float),
    "on_done": (str,),
}
_BYTES = {"on_done": TEXT_BYTES}


def fault_of(options: Options) -> str | None:
    """What is wrong with the options, as a text; ``None`` if nothing."""
    for name, kinds in _KINDS.items():
        value = getattr(options, name)
        if value is None:
            continue
        if not isinstance(value, kinds):
            expected = " or ".join(kind.__name__ for kind in kinds)
            return f"expected {name} as {expected}, got {type(value).__name__}"
        if isinstance(value, datetime) and value.tzinfo is None:
            return f"expected {name} with a time zone, got a naive datetime"
        if fault := _negative(name, value):
            return fault
        if isinstance(value, str) and not 1 <= _size(value) <= _BYTES.get(name, SHORT_BYTES):
            return f"expected {name} of 1 to {_BYTES.get(name, SHORT_BYTES)} bytes"
    if options.delay is not None and options.at is not None:
        return "expected delay or at, got both"
    if options.unique is not None and options.tx is not None:
        # The key is claimed at once and for all to see, the job only with the transaction.
        return "expected unique or tx, got both"
    return None


def _negative(name: str, value: Any) -> str | None:
    if isinstance(value, timedelta) and value < timedelta():
        return f"expected {name} of 0 s or more, got {value.total_seconds():g} s"
    if isinstance(value, int | float) and not value >= 0:  # what is no number neither
        return f"expected {name} of 0 s or more, got {value:g} s"
    return None


def _size(text: str) -> int:
    return len(text.encode(errors="replace"))


class Call(msgspec.Struct, frozen=True):
    """A job with checked and encoded arguments."""

    definition: Definition
    body: bytes
    options: Options
