"""A call: a job with its arguments and options, as a value that can be sent later."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from rabbitjobs.job.definition import Definition


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How one call is sent. ``None`` means: as the job or the config says.

    ``delay`` and ``at`` say when it is due at the earliest, ``expires`` after how long (or at
    which moment) it is no longer worth running. ``unique`` is a key: while a job with this key
    has not ended, another send returns the handle of that one. ``timeout`` is the deadline of
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
    timeout: float | None = None
    tx: Any = None
    on_done: str | None = None


class Call(msgspec.Struct, frozen=True):
    """A job with checked and encoded arguments."""

    definition: Definition
    body: bytes
    options: Options
