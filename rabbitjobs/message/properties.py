"""The AMQP basic properties that we use, as a frozen value that no client library owns."""

from __future__ import annotations

from typing import Any

import msgspec

TEXT_BYTES = 4096
# How many characters of a value, and how many headers are kept, until it fits; the last does.
_CUTS = ((200, 50), (60, 20), (20, 10))


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


def as_text(properties: Properties) -> str:
    """What is set of some properties, as a JSON object of at most ``TEXT_BYTES``.

    What JSON cannot hold becomes text, bytes base64. Too much is cut: values to their beginning,
    then headers are left out, and ``headers_left_out`` counts them.
    """
    plain = {
        name: value
        for name in properties.__struct_fields__
        if (value := getattr(properties, name)) is not None and value != {}
    }
    exact = _as_json(plain)
    return exact if exact is not None else _cut(plain)


def from_text(text: object) -> dict[str, Any] | None:
    """What ``as_text`` wrote, ``None`` for anything else."""
    if not isinstance(text, str):
        return None
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _as_json(plain: dict[str, Any]) -> str | None:
    try:
        text = msgspec.json.encode(plain, enc_hook=repr)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None
    return text.decode() if len(text) <= TEXT_BYTES else None


def _cut(plain: dict[str, Any]) -> str:
    given: dict[str, Any] = plain.get("headers", {})
    text: str | None = None
    for length, count in _CUTS:
        headers = {
            _beginning(str(name), length): _beginning(value, length)
            for name, value in list(given.items())[:count]
        }
        own = {name: _beginning(value, length) for name, value in plain.items()}
        left_out = {"headers_left_out": len(given) - count} if len(given) > count else {}
        text = _as_json({**own, "headers": headers, **left_out})
        if text is not None:
            break
    return text or "{}"


def _beginning(value: Any, length: int) -> Any:
    if isinstance(value, int) and abs(value) < 1 << 63:
        return value
    try:
        text = value if isinstance(value, str) else repr(value)
    except RecursionError:
        text = "nested too deep"
    return text[:length].encode("utf-8", "backslashreplace").decode("utf-8")
