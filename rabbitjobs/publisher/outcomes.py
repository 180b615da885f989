"""From a publish outcome to the error that the caller sees."""

from __future__ import annotations

from rabbitjobs.errors import (
    AccessRefused,
    BrokerBlocked,
    BrokerUnavailable,
    QueueFull,
    SendError,
    SendRefused,
    SendUnknown,
    TooLarge,
    Unroutable,
)
from rabbitjobs.wire.protocol import Confirmed, Outcome, Unknown

_REJECTED: dict[str, tuple[type[SendError], str]] = {
    "unroutable": (Unroutable, "run `rabbitjobs topology apply`"),
    "nacked": (QueueFull, "send later, or raise the queue's max_length"),
    "too-large": (TooLarge, "send a reference to the data instead"),
    "refused": (SendRefused, "see the broker's reason"),
    "unavailable": (BrokerUnavailable, "nothing was sent; check the broker and send again"),
    "access": (AccessRefused, "nothing was sent"),
    "blocked": (BrokerBlocked, "nothing was sent; free memory or disk on the broker"),
}


def error_of(
    outcome: Outcome,
    *,
    queue: str | None = None,
    job: str | None = None,
    job_id: str | None = None,
) -> SendError | None:
    """The error for an outcome; ``None`` for a confirmed one."""
    if isinstance(outcome, Confirmed):
        return None
    if isinstance(outcome, Unknown):
        text = (
            f"expected a confirm, got none: {outcome.text}; it may or may not be stored: "
            "send again with the same id="
        )
        return SendUnknown(text, queue=queue, job=job, job_id=job_id)
    # A missing exchange closes the channel with 404: for the sender it is unroutable all the same.
    missing = outcome.reason == "refused" and outcome.code == 404
    kind, todo = _REJECTED["unroutable" if missing else outcome.reason]
    text = f"expected the broker to store it, got: {outcome.text}; {todo}"
    return kind(text, queue=queue, job=job, job_id=job_id)
