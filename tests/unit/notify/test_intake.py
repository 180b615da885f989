"""What the ending publishes to the notify queue is read back as a note."""

from __future__ import annotations

from typing import Any

import pytest

from rabbitjobs.ending.settlement import Outcome, Terms, settlement
from rabbitjobs.errors import Undecodable
from rabbitjobs.message import headers as h
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.message.properties import Properties
from rabbitjobs.notify.intake import note_of
from rabbitjobs.notify.note import Completion, Note
from rabbitjobs.policy.decision import Decision, Failure
from rabbitjobs.topology.model import default_spec
from rabbitjobs.wire.protocol import Delivery, Outgoing

FAILURE = Failure(kind="error", error_type="builtins.TimeoutError", error="no answer")


def published(decision: Decision | None, *, on_done: str | None = None) -> list[Outgoing]:
    """What the ending sends to the notify queue for a job of queue ``default``."""
    spec = default_spec("shop")
    envelope = Envelope(
        id="i", job="주문", queue="default", body=b"{}", attempt=3, enqueued=1.0, on_done=on_done
    )
    outcome = Outcome(
        envelope=envelope, started=10.0, ended=12.5, failure=FAILURE if decision else None
    )
    terms = Terms(spec=spec, keep=60, ignore_result=False, worker="w")
    sends = settlement(outcome, decision, terms).sends
    return [send for send in sends if send.routing_key == "notify"]


def delivery(outgoing: Outgoing) -> Delivery:
    return Delivery(1, "", "notify", False, outgoing.properties, outgoing.body)


def test_a_failure_is_read_back() -> None:
    """Job, attempt, failure, rule, what follows and when."""
    (sent,) = published(Decision(do="review", rule="default", notify=True))
    assert note_of(delivery(sent)) == Note(
        job="주문",
        queue="default",
        job_id="i",
        attempt=3,
        failure=FAILURE,
        rule="default",
        then="review",
        at=12.5,
    )


def test_a_completion_is_read_back() -> None:
    """With the URL that the caller gave."""
    (sent,) = published(None, on_done="https://hooks.shop.example/")
    assert note_of(delivery(sent)) == Completion(
        job_id="i",
        job="주문",
        queue="default",
        status="succeeded",
        url="https://hooks.shop.example/",
        ended=12.5,
    )


def test_an_ignored_job_completes_with_its_error() -> None:
    """An ending without success is a completion too."""
    (sent,) = published(Decision(do="ignore", rule="r"), on_done="https://hooks.shop.example/")
    note = note_of(delivery(sent))
    assert isinstance(note, Completion)
    assert (note.status, note.error_type) == ("ignored", "builtins.TimeoutError")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {h.ID: "i"},
        {h.ID: "i", h.QUEUE: "q"},
        {h.ID: "i", h.QUEUE: 5},
        {h.ID: "i", h.QUEUE: "q", h.FAILURE: "{"},
        {h.ID: "i", h.QUEUE: "q", h.FAILURE: '{"kind": "odd"}'},
        {h.ID: "i", h.QUEUE: "q", h.FAILURE: b"\xff"},
        {h.ID: "i", h.QUEUE: "q", h.STATUS: "succeeded", h.ENDED: 5},
        {h.ID: "i", h.QUEUE: "q", h.STATUS: "succeeded", h.ON_DONE: "https://x.example/"},
        {h.ID: "i", h.QUEUE: "q", h.STATUS: "x", h.ON_DONE: "https://x.example/", h.ENDED: True},
    ],
)
def test_a_message_that_no_ending_wrote_is_undecodable(headers: dict[str, Any]) -> None:
    """Whatever a stranger writes there, the notifier lives."""
    properties = Properties(type="job", headers=headers)
    with pytest.raises(Undecodable):
        note_of(Delivery(1, "", "notify", False, properties, b""))


def test_damaged_properties_are_undecodable() -> None:
    """What the wire could not read is named."""
    with pytest.raises(Undecodable, match="bad UTF-8"):
        note_of(Delivery(1, "", "notify", False, Properties(), b"", damage="bad UTF-8"))
