"""Intake: every failure becomes a case once, however often its message is delivered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from rabbitjobs.backend.protocol import Record, Status
from rabbitjobs.backend.sql import SqlBackend
from rabbitjobs.clock import uuid7
from rabbitjobs.message.properties import Properties
from rabbitjobs.review import listing
from rabbitjobs.review import store as rows
from rabbitjobs.review.case import Case, CaseLine, Filters, hash_of
from rabbitjobs.review.intake import FailedMessage, atake_in, take_in
from rabbitjobs.store.engine import Store

Failed = Callable[..., FailedMessage]
DEATH = {
    "reason": "delivery_limit",
    "queue": "shop.q.emails",
    "count": 1,
    "time": 1_700_000_000,
    "exchange": "",
    "routing-keys": ["shop.q.emails"],
}


def case_of(store: Store, case_id: str) -> Case:
    return store.read(lambda c: rows.find(c, store.namespace, case_id))


def test_a_failure_becomes_a_case_with_everything_known(store: Store, failed: Failed) -> None:
    """Identity, origin, failure with its rule, history, exact bytes and hash."""
    message = failed(
        attempt=4, body=b'{"args":["\xc3\xa9"],"kwargs":{}}', trace="00-ab", priority=7
    )
    assert message.envelope is not None
    case = case_of(store, take_in(store, message))
    assert (case.state, case.version, case.reason) == ("open", 1, "review")
    assert (case.job, case.queue, case.attempt) == ("shop.mail", "emails", 4)
    assert (case.error_type, case.error, case.kind) == (
        "smtplib.SMTPDataError",
        "mailbox full",
        "error",
    )
    assert case.rule == "default: then review"
    assert case.origin.source_queue == "shop.review"
    assert case.payload == message.raw
    assert case.payload_hash == hash_of(message.raw)
    assert case.decoded() == {"args": ["é"], "kwargs": {}}
    assert case.envelope == message.envelope
    assert case.properties == message.properties
    assert case.history == message.envelope.history


async def test_the_same_message_is_one_case(store: Store, failed: Failed) -> None:
    """A redelivery after a crash between commit and ack finds its case."""
    message = failed()
    ids = await asyncio.gather(*(atake_in(store, message) for _ in range(10)))
    assert len(set(ids)) == 1
    assert len(store.read(lambda c: rows.audit_of(c, ids[0]))) == 1


async def test_intake_shows_the_job_in_review(
    store: Store, backend: SqlBackend, failed: Failed, outcome: Callable[..., Record]
) -> None:
    """A job whose worker crashed has no outcome of its own; a caller sees what became of it."""
    message = failed(uuid7(), reason="dead-letter", failure=None, deaths=[DEATH])
    assert message.envelope is not None
    await atake_in(store, message)
    stored = backend.get(message.envelope.id)
    assert stored is not None
    assert (stored.status, stored.error_type) == (Status.IN_REVIEW, "broker.delivery_limit")


async def test_intake_overwrites_no_end(
    store: Store, backend: SqlBackend, failed: Failed, outcome: Callable[..., Record]
) -> None:
    """Final states and newer attempts stay; so does what the ending wrote of this attempt."""
    done, newer, own = uuid7(), uuid7(), uuid7()
    await backend.record(outcome(done, 2))
    await backend.record(outcome(newer, 5, status=Status.RETRYING))
    await backend.record(outcome(own, 2, status=Status.IN_REVIEW, error="as recorded"))
    for job in (done, newer, own):
        take_in(store, failed(job, 2))
    assert backend.get(done).status is Status.SUCCEEDED  # type: ignore[union-attr]
    assert backend.get(newer).status is Status.RETRYING  # type: ignore[union-attr]
    assert backend.get(own).error == "as recorded"  # type: ignore[union-attr]


def test_what_the_broker_dead_lettered_is_told_in_words(store: Store, failed: Failed) -> None:
    """x-death says why, and is kept whole."""
    message = failed(reason="dead-letter", failure=None, decision_rule=None, deaths=[DEATH])
    case = case_of(store, take_in(store, message))
    assert case.kind == "crash"
    assert "again and again" in case.error
    assert case.rule == "the broker: delivery_limit on shop.q.emails"
    assert case.origin.deaths == [DEATH]


def test_two_dead_letterings_of_one_attempt_are_two_failures_of_one_case(
    store: Store, failed: Failed
) -> None:
    """A job has one live case at most."""
    message = failed(reason="dead-letter", failure=None, deaths=[DEATH])
    again = msgspec.structs.replace(message, deaths=[{**DEATH, "count": 2}])
    assert take_in(store, message) == take_in(store, again)
    (case_id,) = [case.id for case in _all(store)]
    assert [row.action for row in store.read(lambda c: rows.audit_of(c, case_id))] == [
        "open",
        "reopen",
    ]


def test_an_older_attempt_does_not_replace_a_newer_failure(store: Store, failed: Failed) -> None:
    """Queues keep no order between attempts."""
    job = uuid7()
    newer = take_in(store, failed(job, 5))
    assert take_in(store, failed(job, 2)) == newer
    assert case_of(store, newer).attempt == 5


@pytest.mark.parametrize("body", [b"\x80\x02\xff", b"", b"\0" * 1000])
def test_a_message_that_cannot_be_read_is_kept_to_the_byte(
    store: Store, failed: Failed, body: bytes
) -> None:
    """It can only be discarded, and its bytes can be looked at."""
    properties = Properties(message_id="\0x", headers={"deep": {"a": [1, b"\xff"]}})
    message = failed(
        envelope=None, failure=None, raw=body, reason="quarantine", properties=properties
    )
    message = msgspec.structs.replace(message, envelope=None)
    first = take_in(store, message)
    assert take_in(store, message) == first
    other = msgspec.structs.replace(message, properties=Properties(message_id="other"))
    assert take_in(store, other) != first
    case = case_of(store, first)
    assert (case.payload, case.job_id, case.actions) == (
        body,
        None,
        ("claim", "discard", "snooze"),
    )
    assert case.properties.headers == properties.headers


def test_a_hostile_payload_can_be_stored_and_found(store: Store, failed: Failed) -> None:
    """Control characters, NUL and wild cards mean nothing to the store."""
    body = '{"args":["100%_\\u0000<script>\u202e"],"kwargs":{}}'.encode()
    take_in(store, failed(body=body, correlation_id="a\0b", app_id="\0"))
    take_in(store, failed())
    assert len(_all(store, text="100%_")) == 1
    assert len(_all(store, text="<SCRIPT>")) == 1
    assert _all(store, text="1%0") == ()


def _all(store: Store, text: str | None = None) -> tuple[CaseLine, ...]:
    filters = Filters(text=text)
    return store.read(lambda c: listing.page(c, store.namespace, filters, 100, None)).cases
