"""From a message of the review queue to what the intake takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from rabbitjobs.errors import Undecodable
from rabbitjobs.message import headers as h
from rabbitjobs.message.codec import decode
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.policy.decision import Failure
from rabbitjobs.review.intake import FailedMessage
from rabbitjobs.topology import names
from rabbitjobs.wire.protocol import Delivery

_failures = msgspec.json.Decoder(Failure)


def failed_message(delivery: Delivery, namespace: str) -> FailedMessage:
    """Read as much as can be read; what cannot is kept as it came, and never refused.

    A failure header is ours; without one it was the broker that dead-lettered the message.
    """
    headers = delivery.properties.headers
    deaths = _deaths(headers)
    queue = _text(headers, h.QUEUE) or _queue_of(deaths, namespace)
    failure = _failure(headers)
    return FailedMessage(
        envelope=_envelope(delivery, queue),
        failure=failure,
        raw=delivery.body,
        properties=delivery.properties,
        reason="review" if failure is not None else "dead-letter",
        decision_rule=_text(headers, h.RULE) or None,
        exchange=delivery.exchange,
        routing_key=delivery.routing_key,
        queue=queue,
        deaths=deaths,
    )


def _envelope(delivery: Delivery, queue: str) -> Envelope | None:
    if delivery.damage is not None:
        return None
    try:
        return decode(delivery.properties, delivery.body, queue=queue)
    except Undecodable:
        return None


def _failure(headers: Mapping[str, Any]) -> Failure | None:
    text = headers.get(h.FAILURE)
    if not isinstance(text, str | bytes):
        return None
    try:
        return _failures.decode(text)
    except msgspec.MsgspecError:
        return None


def _deaths(headers: Mapping[str, Any]) -> Sequence[dict[str, Any]]:
    deaths = headers.get("x-death")
    if not isinstance(deaths, list):
        return ()
    return tuple(death for death in deaths if isinstance(death, dict))


def _queue_of(deaths: Sequence[Mapping[str, Any]], namespace: str) -> str:
    """The config's name of the work queue that it died in."""
    prefix = names.work_queue(namespace, "")
    for death in deaths:
        name = death.get("queue")
        if isinstance(name, str) and name.startswith(prefix):
            return name.removeprefix(prefix)
    return ""


def _text(headers: Mapping[str, Any], name: str) -> str:
    value = headers.get(name)
    return value if isinstance(value, str) else ""
