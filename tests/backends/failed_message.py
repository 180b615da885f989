"""A message of the review queue, as tests of the desk take it in."""

from __future__ import annotations

from typing import Any

from rabbitjobs.clock import now, uuid7
from rabbitjobs.message.envelope import AttemptRecord, Envelope
from rabbitjobs.message.properties import Properties
from rabbitjobs.policy.decision import Failure
from rabbitjobs.review.intake import FailedMessage


def failed_message(job_id: str | None = None, attempt: int = 1, **changes: Any) -> FailedMessage:
    """One that failed in ``attempt``; ``changes`` are fields of it, or of its envelope."""
    known: dict[str, Any] = {
        "id": job_id or uuid7(),
        "job": "shop.mail",
        "queue": "emails",
        "body": b'{"args":["a@example.org"],"kwargs":{}}',
        "attempt": attempt,
        "enqueued": now(),
        "history": (
            AttemptRecord(attempt=1, started=1.0, seconds=0.5, error_type="E", error="late"),
        ),
    }
    names = [name for name in changes if name in Envelope.__struct_fields__]
    envelope = Envelope(**known | {name: changes.pop(name) for name in names})
    values: dict[str, Any] = {
        "envelope": envelope,
        "failure": Failure(
            kind="error",
            error_type="smtplib.SMTPDataError",
            error="mailbox full",
            classes=("smtplib.SMTPDataError", "builtins.OSError"),
            traceback="Traceback ...",
        ),
        "decision_rule": "default: then review",
        "raw": envelope.body,
        "properties": Properties(message_id=uuid7(), type="shop.mail", timestamp=1_700_000_000),
        "reason": "review",
        "exchange": "shop.fail",
        "routing_key": "review",
        "queue": "shop.review",
    }
    return FailedMessage(**(values | changes))
