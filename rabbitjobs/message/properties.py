"""The AMQP basic properties that we use, as a frozen value that no client library owns."""

from __future__ import annotations

from typing import Any

import msgspec


class Properties(msgspec.Struct, frozen=True, gc=False):
    """Basic properties of AMQP 0-9-1, section 1.8.3 of the reference.

    ``timestamp`` is unix seconds. ``expiration`` and ``user_id`` are left out on purpose: a
    per-message expiration blocks delay queues, and a forwarded user id is refused with 406.
    """

    message_id: str | None = None
    type: str | None = None
    content_type: str | None = None
    content_encoding: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    app_id: str | None = None
    priority: int | None = None
    timestamp: int | None = None
    delivery_mode: int = 2
    headers: dict[str, Any] = {}
