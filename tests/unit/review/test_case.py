"""Cases as values: what may be done in which state, how failures are told apart, edits in words."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rabbitjobs.message.envelope import Envelope
from rabbitjobs.message.properties import Properties
from rabbitjobs.policy.decision import Failure
from rabbitjobs.review.case import STATES, Case, Origin
from rabbitjobs.review.edited import describe_change, pretty
from rabbitjobs.review.intake import FailedMessage, failure_id

ENVELOPE = Envelope(id="j", job="shop.mail", queue="emails", body=b'{"args":[1]}', attempt=2)
FAILURE = Failure(kind="error", error_type="E", error="e")


def a_case(**changes: Any) -> Case:
    values: dict[str, Any] = dict.fromkeys(Case.__struct_fields__)
    origin = Origin(exchange="", routing_key="", source_queue="", app_id=None, published=None)
    values |= {"state": "open", "envelope": ENVELOPE, "payload": ENVELOPE.body, "origin": origin}
    return Case(**(values | changes))


@pytest.mark.parametrize("state", STATES)
def test_an_unreadable_message_can_only_be_discarded(state: Any) -> None:
    """Or put off, and only while its case is open."""
    allowed = ("claim", "discard", "snooze") if state == "open" else ()
    assert a_case(state=state, envelope=None).actions == allowed


def test_only_an_open_case_is_acted_on() -> None:
    """A release that is lost can be taken back."""
    allowed = {state: a_case(state=state).actions for state in STATES}
    assert allowed == {
        "open": ("claim", "retry", "edit", "discard", "resolve", "snooze"),
        "releasing": ("reopen",),
        "released": ("reopen",),
        "closed": (),
        "discarded": (),
        "resolved": (),
    }


def test_a_job_at_the_gate_gets_a_yes_or_a_no() -> None:
    """It has not run, so there is nothing to retry."""
    gate = a_case(kind="approval")
    assert gate.actions == ("claim", "approve", "edit", "reject", "resolve", "snooze")


@pytest.mark.parametrize("payload", [b"\xff", b"", b"[" * 100_000])
def test_a_payload_that_is_no_json_has_no_decoded_view(payload: bytes) -> None:
    """And breaks nothing."""
    case = a_case(payload=payload)
    assert case.decoded() is None
    assert pretty(payload) is not None


def a_message(**changes: Any) -> FailedMessage:
    values: dict[str, Any] = {
        "envelope": ENVELOPE,
        "failure": FAILURE,
        "raw": b"",
        "properties": Properties(),
        "reason": "review",
    }
    return FailedMessage(**(values | changes))


def test_a_failure_has_one_id_for_each_attempt() -> None:
    """Whatever else the message carries."""
    again = a_message(properties=Properties(message_id="other"), queue="x")
    assert failure_id(a_message()) == failure_id(again) == "j:2"
    later = msgspec.structs.replace(ENVELOPE, attempt=3)
    assert failure_id(a_message(envelope=later)) == "j:3"


def test_dead_letterings_are_told_apart_by_place_count_and_time() -> None:
    """An attempt may be dead-lettered more than once: nothing of it is recorded."""
    death = {"reason": "delivery_limit", "queue": "q", "count": 1, "time": 5}
    deaths = [death, {**death, "count": 2}, {**death, "time": 6}, {**death, "queue": "r"}]
    ids = {failure_id(a_message(failure=None, reason="dead-letter", deaths=[d])) for d in deaths}
    ids.add(failure_id(a_message(failure=None, reason="dead-letter")))
    assert len(ids) == 5
    assert "j:2" not in ids


def test_an_edit_is_told_as_a_diff() -> None:
    """Line by line, of the pretty form."""
    text = describe_change(b'{"args":[1,2],"kwargs":{}}', b'{"args":[1,3],"kwargs":{}}')
    assert "-    2" in text
    assert "+    3" in text
    assert describe_change(b'{"a":1}', b'{ "a": 1 }') == "the same data, written in another way"
    assert "\\xff" in describe_change(b"\xff", b"{}")
