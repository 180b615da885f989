"""The gate before a job that needs a person's yes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from rabbitjobs.clock import now
from rabbitjobs.consumer.failure import plain_failure
from rabbitjobs.ending.settlement import Outcome
from rabbitjobs.message.envelope import Envelope

Approved = Callable[[Envelope], Awaitable[bool]]
"""Asks whether a person let a message run; raises ``StoreUnavailable``, and is asked again."""


def stopped_at_the_gate(envelope: Envelope) -> Outcome:
    """An attempt that did not run: its rule sends it to the desk, where a person decides."""
    at = now()
    if envelope.expires is not None and envelope.expires <= at:
        failure = plain_failure("expired", "nobody was asked, because it came after its expiry")
    else:
        failure = plain_failure("approval", "it has not run: it waits for a person's yes")
    return Outcome(envelope=envelope, started=at, ended=at, failure=failure)
