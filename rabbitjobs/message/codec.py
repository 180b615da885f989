"""Envelopes to AMQP properties and back.

Properties are always built from the envelope, never copied from a delivery: a copied user id is
refused, CC and BCC route anywhere, an expiration blocks delay queues.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from rabbitjobs.clock import now
from rabbitjobs.errors import Undecodable
from rabbitjobs.message import headers as h
from rabbitjobs.message.envelope import AttemptRecord, Envelope
from rabbitjobs.message.properties import Properties

_history_encoder = msgspec.json.Encoder()
_history_decoder = msgspec.json.Decoder(tuple[AttemptRecord, ...])

# AMQP short strings: job ids and names travel in properties that end there.
SHORT_BYTES = 255
# All headers travel in one frame, which the broker refuses beyond 128 KiB by closing the whole
# connection: so what users and strangers can make long is bounded here.
TEXT_BYTES = 4096
HISTORY_BYTES = 48_000
_LARGEST_ATTEMPT = 1 << 31
# Other bodies (pickle, compressed ones) are refused unread. Some clients name JSON's own encoding.
JSON = "application/json"
_PLAIN_ENCODINGS = frozenset({"identity", "utf-8"})
# Most messages carry none of these. Asking for all of them at once costs 0.2 microseconds, asking
# for each 2: a tenth of a small job.
_SELDOM = frozenset(
    {
        h.DUE,
        h.EXPIRES,
        h.TRACE,
        h.ON_DONE,
        h.UNIQUE,
        h.TAG,
        h.UNKNOWN,
        h.WAITS,
        h.RELEASE,
        h.CASE,
        h.SIGNATURE,
        h.HISTORY,
    }
)


def encode(envelope: Envelope, message_id: str | None = None) -> Properties:
    """The properties of one publish of ``envelope``.

    ``message_id`` must be fresh for each publish; ``None`` lets the wire's outbound make it.
    """
    headers: dict[str, Any] = {
        h.V: h.VERSION,
        h.ID: envelope.id,
        h.QUEUE: envelope.queue,
        h.ATTEMPT: envelope.attempt,
        h.ENQUEUED: round(envelope.enqueued * 1000),
    }
    if envelope.due is not None:
        headers[h.DUE] = round(envelope.due * 1000)
    if envelope.expires is not None:
        headers[h.EXPIRES] = round(envelope.expires * 1000)
    if envelope.history:
        headers[h.HISTORY] = _history_text(envelope.history)
    optional = (
        (h.TRACE, envelope.trace),
        (h.ON_DONE, envelope.on_done),
        (h.UNIQUE, envelope.unique),
        (h.TAG, envelope.tag),
        (h.AGAIN, envelope.again or None),
        (h.UNKNOWN, envelope.unknown or None),
        (h.WAITS, envelope.waits or None),
        (h.RELEASE, envelope.release),
        (h.CASE, envelope.case),
        (h.SIGNATURE, envelope.signature),
    )
    headers.update((name, value) for name, value in optional if value is not None)
    return Properties(
        message_id,
        envelope.job,
        envelope.content_type,
        envelope.content_encoding,
        envelope.correlation_id,
        envelope.reply_to,
        envelope.app_id,
        envelope.priority,
        int(now()),
        2,
        headers,
    )


def decode(properties: Properties, body: bytes, *, queue: str) -> Envelope:
    """Read a delivery from the queue that the config calls ``queue``.

    A message of any AMQP client is read: a missing job id is made from the message id, a missing
    attempt is the first. Raises ``Undecodable`` when there is no job name, a header of ours has
    the wrong type, or the body is not plain JSON by its properties; the body is not looked at.
    """
    headers = properties.headers
    job = properties.type
    if not job:
        raise Undecodable("expected the job's name in the property `type`, got none", queue=queue)
    job_id = _text(headers, h.ID) or properties.message_id
    if not job_id:
        raise Undecodable(
            f"expected a job id in the header {h.ID} or a message_id, got neither",
            queue=queue,
            job=job,
        )
    if len(job_id) > SHORT_BYTES:
        raise Undecodable(f"expected a job id of at most {SHORT_BYTES} characters", queue=queue)
    attempt = headers.get(h.ATTEMPT, 1)
    if type(attempt) is not int or not 1 <= attempt < _LARGEST_ATTEMPT:
        raise Undecodable(
            f"expected an attempt from 1 in {h.ATTEMPT}, got {attempt!r}", queue=queue
        )
    content_type, content_encoding = properties.content_type or JSON, properties.content_encoding
    if content_type != JSON or content_encoding is not None:
        _check_content(properties, queue)
    enqueued = _seconds(headers, h.ENQUEUED)
    envelope = Envelope(
        id=job_id,
        job=job,
        queue=queue,
        body=body,
        content_type=content_type,
        content_encoding=content_encoding,
        attempt=attempt,
        priority=properties.priority,
        enqueued=enqueued if enqueued is not None else float(properties.timestamp or now()),
        correlation_id=properties.correlation_id,
        reply_to=properties.reply_to,
        app_id=properties.app_id,
        # Other clients choose their ids themselves, and may send again after an unknown outcome.
        again=h.AGAIN in headers or h.V not in headers,
    )
    return envelope if _SELDOM.isdisjoint(headers) else _with_seldom(envelope, headers)


def _with_seldom(envelope: Envelope, headers: Mapping[str, Any]) -> Envelope:
    return msgspec.structs.replace(
        envelope,
        due=_seconds(headers, h.DUE),
        expires=_seconds(headers, h.EXPIRES),
        trace=_text(headers, h.TRACE),
        on_done=_text(headers, h.ON_DONE),
        unique=_text(headers, h.UNIQUE),
        tag=_text(headers, h.TAG),
        unknown=_count(headers, h.UNKNOWN, envelope.queue),
        waits=_count(headers, h.WAITS, envelope.queue),
        release=_text(headers, h.RELEASE),
        case=_text(headers, h.CASE),
        signature=_text(headers, h.SIGNATURE),
        history=_history(headers, envelope.queue),
    )


def _count(headers: Mapping[str, Any], name: str, queue: str) -> int:
    count = headers.get(name, 0)
    if type(count) is not int or not 0 <= count < _LARGEST_ATTEMPT:
        raise Undecodable(f"expected a count from 0 in {name}, got {count!r}", queue=queue)
    return count


def _check_content(properties: Properties, queue: str) -> None:
    kind = (properties.content_type or JSON).partition(";")[0].strip().lower()
    if kind != JSON:
        raise Undecodable(
            f"expected the content type {JSON}, got {kind[:100]!r}; send JSON", queue=queue
        )
    encoding = (properties.content_encoding or "identity").strip().lower()
    if encoding not in _PLAIN_ENCODINGS:
        raise Undecodable(
            f"expected a body without content encoding, got {encoding[:100]!r}; send it as it is",
            queue=queue,
        )


def _text(headers: Mapping[str, Any], name: str) -> str | None:
    value = headers.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise Undecodable(f"expected text in the header {name}, got {type(value).__name__}")
    if len(value) > TEXT_BYTES:
        raise Undecodable(f"expected at most {TEXT_BYTES} characters in the header {name}")
    return value or None


def _seconds(headers: Mapping[str, Any], name: str) -> float | None:
    value = headers.get(name)
    if value is None:
        return None
    # bool is an int in Python, but no moment in time.
    if type(value) is not int or not 0 <= value < 1 << 50:
        raise Undecodable(f"expected milliseconds since 1970 in {name}, got {value!r}")
    return value / 1000


def _history_text(history: tuple[AttemptRecord, ...]) -> str:
    text = _history_encoder.encode(history)
    while len(text) > HISTORY_BYTES:
        history = history[1:]
        text = _history_encoder.encode(history)
    return text.decode()


def _history(headers: Mapping[str, Any], queue: str) -> tuple[AttemptRecord, ...]:
    text = headers.get(h.HISTORY)
    if text is None:
        return ()
    try:
        return _history_decoder.decode(text)
    except (msgspec.MsgspecError, TypeError, UnicodeError, RecursionError) as error:
        raise Undecodable(
            f"expected the history as JSON in {h.HISTORY}; {error}", queue=queue
        ) from None
