"""Cases of a shop on an ordinary day: what the pages are looked at with."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, update

from rabbitjobs.clock import now, uuid7
from rabbitjobs.message.envelope import AttemptRecord, Envelope
from rabbitjobs.message.properties import Properties
from rabbitjobs.policy.decision import Failure
from rabbitjobs.review.bulk_case import Terms
from rabbitjobs.review.case import Filters
from rabbitjobs.review.desk import Desk
from rabbitjobs.review.intake import FailedMessage, take_in
from rabbitjobs.store.engine import Store
from rabbitjobs.store.schema import cases

TRACE = """Traceback (most recent call last):
  File "/app/shop/mail.py", line 41, in send_invoice
    server.sendmail(SENDER, [to], message.as_bytes())
  File "/usr/lib/python3.11/smtplib.py", line 908, in sendmail
    raise SMTPDataError(code, resp)
smtplib.SMTPDataError: (552, b'5.2.2 Mailbox full')
"""
KINDS: tuple[tuple[str, str, str, str, dict[str, Any]], ...] = (
    ("shop.send_invoice", "emails", "smtplib.SMTPDataError", "(552, b'5.2.2 Mailbox full')",
     {"args": ["ann@example.org"], "kwargs": {"invoice": 20417, "copies": 1}}),
    ("shop.resize", "images", "PIL.UnidentifiedImageError", "cannot identify image file",
     {"args": ["s3://pictures/4711.heic"], "kwargs": {"sizes": [320, 1280]}}),
    ("shop.pay_back", "billing", "shop.bank.Refused", "the account is closed",
     {"args": [{"order": 81234, "cents": 4990}], "kwargs": {}}),
    ("shop.import_prices", "reports", "builtins.ValueError",
     "row 1812: expected a price, got 'on request'",
     {"args": [], "kwargs": {"file": "prices.csv"}}),
)  # fmt: skip


def message(kind: int, number: int, failure: Failure | None = None) -> FailedMessage:
    """One message of the review queue."""
    job, queue, error_type, error, arguments = KINDS[kind]
    at = now()
    envelope = Envelope(
        id=uuid7(), job=job, queue=queue, body=msgspec.json.encode(arguments), attempt=5,
        enqueued=at - 900 - number,
        history=tuple(
            AttemptRecord(
                attempt=n, started=at - 900 + 60 * n, seconds=0.21 * n, error_type=error_type,
                error=error,
            )
            for n in range(1, 5)
        ),
    )  # fmt: skip
    failure = failure or Failure(
        kind="error", error_type=error_type, error=error, traceback=TRACE,
        classes=(error_type, "builtins.OSError", "builtins.Exception"),
    )  # fmt: skip
    return FailedMessage(
        envelope=envelope,
        failure=failure,
        decision_rule='queues.emails.on: {error: "*", do: review}',
        raw=envelope.body,
        properties=Properties(message_id=uuid7(), type=job, timestamp=int(at - 900)),
        reason="review",
        exchange="shop.fail",
        routing_key="review",
        queue=queue,
    )


def fill(store: Store, desk: Desk) -> str:
    """Put them on the desk, some of them touched; returns the id of the one to look at."""
    ids = [take_in(store, message(n % 4 if n % 3 else 0, n)) for n in range(14)]
    gate = Failure(kind="approval", error_type="approval", error="it waits for a yes")
    take_in(store, message(2, 50, gate))
    store.run(lambda connection: _spread(connection, ids))
    desk.claim(ids[11], who="bob", version=1)
    desk.tag(ids[10], ("vip", "call back"), who="ann", version=1)
    desk.escalate(ids[10], "the customer waits", who="ann", version=2)
    desk.snooze(ids[1], timedelta(hours=5), who="ann", version=1)
    desk.discard(ids[2], "sent by hand", who="bob", version=1)
    shown = take_in(store, message(0, 99))
    desk.comment(shown, "The customer has been told; her mailbox is full since Monday.", who="bob",
                 version=1)  # fmt: skip
    terms = Terms(canary=1, rate=5, failures=3)
    made = desk.bulk.freeze("retry", Filters(queue="emails"), who="ann", terms=terms)
    desk.bulk.stop(made.id, "the mail server is down", who="ann")
    return shown


def _spread(connection: Connection, ids: list[str]) -> None:
    """As if they had come over the last days."""
    for place, one in enumerate(reversed(ids)):
        at = now() - 40 - 400 * place**2.4
        values = {"opened": at - 30, "seen": at, "failures": 1 + place % 3 // 2}
        connection.execute(update(cases).where(cases.c.id == one).values(**values))
