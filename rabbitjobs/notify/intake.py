"""From a message of the notify queue to a note."""

from __future__ import annotations

import msgspec

from rabbitjobs.errors import Undecodable
from rabbitjobs.message import headers as h
from rabbitjobs.message.codec import decode
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.notify.note import Completion, Note
from rabbitjobs.policy.decision import Failure
from rabbitjobs.wire.protocol import Delivery

_failures = msgspec.json.Decoder(Failure)
_LATEST = 1 << 50


def note_of(delivery: Delivery) -> Note | Completion:
    """The note that an ending published.

    Raises ``Undecodable`` for a message that no ending wrote: it belongs into quarantine.
    """
    if delivery.damage is not None:
        raise Undecodable(f"expected readable properties, got {delivery.damage}")
    found = delivery.properties.headers
    envelope = decode(delivery.properties, b"", queue=_text(found.get(h.QUEUE), h.QUEUE))
    failure = _failure(found.get(h.FAILURE))
    status = found.get(h.STATUS)
    if status is not None:
        return _completion(envelope, _text(status, h.STATUS), found.get(h.ENDED), failure)
    if failure is None:
        raise Undecodable(f"expected a failure in the header {h.FAILURE}, got none")
    last = envelope.history[-1] if envelope.history else None
    return Note(
        job=envelope.job,
        queue=envelope.queue,
        job_id=envelope.id,
        attempt=envelope.attempt,
        failure=failure,
        rule=_text(found.get(h.RULE), h.RULE),
        then=_text(found.get(h.REASON), h.REASON),
        at=last.started + last.seconds if last else float(delivery.properties.timestamp or 0),
    )


def _completion(
    envelope: Envelope, status: str, ended: object, failure: Failure | None
) -> Completion:
    if envelope.on_done is None:
        raise Undecodable(f"expected a URL in the header {h.ON_DONE}, got none")
    if type(ended) is not int or not 0 <= ended < _LATEST:
        raise Undecodable(f"expected milliseconds since 1970 in {h.ENDED}, got {ended!r}")
    return Completion(
        job_id=envelope.id,
        job=envelope.job,
        queue=envelope.queue,
        status=status,
        url=envelope.on_done,
        ended=ended / 1000,
        error_type=failure.error_type if failure else None,
        error=failure.error if failure else None,
    )


def _failure(text: object) -> Failure | None:
    if text is None:
        return None
    try:
        return _failures.decode(_text(text, h.FAILURE))
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise Undecodable(f"expected a failure as JSON in {h.FAILURE}; {error}") from None


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise Undecodable(f"expected text in the header {name}, got {type(value).__name__}")
    return value
