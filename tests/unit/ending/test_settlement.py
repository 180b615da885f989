"""From an outcome to its settlement: what is kept, what is sent."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rabbitjobs.backend.protocol import Status
from rabbitjobs.clock import now
from rabbitjobs.ending.settlement import (
    ERROR_KEPT,
    NOTHING_TO_DO,
    SHORTEST_RETRY,
    Keeping,
    Outcome,
    Settlement,
    Terms,
    kept,
    repeated,
    running,
    settlement,
)
from rabbitjobs.message import headers as h
from rabbitjobs.message.codec import decode
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.policy.decision import Decision, Failure
from rabbitjobs.policy.rules import RetryPolicy
from rabbitjobs.topology.model import QueueSpec, TopologySpec
from rabbitjobs.wire.frames import header_payload
from rabbitjobs.wire.protocol import Outgoing

SPEC = TopologySpec(
    namespace="shop",
    queues={
        "emails": QueueSpec(name="emails", retry="quick"),
        "own": QueueSpec(name="own", review_own=True),
        "nothing": QueueSpec(name="nothing", ignored_keep=0),
    },
    retry={
        "default": RetryPolicy(name="default", attempts=1, delays=()),
        "quick": RetryPolicy(name="quick", attempts=2, delays=(timedelta(seconds=3),)),
    },
)
TERMS = Terms(spec=SPEC, keep=60.0, ignore_result=False, worker="host:1")
FAILURE = Failure(
    kind="error", error_type="KeyError", error="x" * 1000, classes=("KeyError",), traceback="tb"
)
FRAME = 131_072 - 8


def envelope(**changes: Any) -> Envelope:
    """A job on its way."""
    values: dict[str, Any] = {
        "id": "job-1",
        "job": "shop.mail",
        "queue": "emails",
        "body": b'{"args":[1],"kwargs":{}}',
        "enqueued": 1000.0,
    }
    return Envelope(**(values | changes))


def outcome(failure: Failure | None = None, **changes: Any) -> Outcome:
    """How its attempt went."""
    return Outcome(
        envelope=envelope(**changes), started=2000.0, ended=2001.5, result=b"7", failure=failure
    )


def failed(decision: Decision, **changes: Any) -> Settlement:
    """The settlement of a failure that was decided like this."""
    return settlement(outcome(FAILURE, **changes), decision, TERMS)


def routes(plan: Settlement) -> list[tuple[str, str]]:
    """Where its messages go."""
    return [(one.exchange, one.routing_key) for one in plan.sends]


def test_a_success_is_recorded_and_sends_nothing() -> None:
    """The record holds all that readers see."""
    plan = settlement(outcome(), None, TERMS)
    record = plan.record
    assert plan.status is Status.SUCCEEDED
    assert plan.sends == ()
    assert record is not None
    assert (record.result, record.decision, record.error) == (b"7", None, None)
    assert (record.started, record.ended, record.keep) == (2000.0, 2001.5, 60.0)
    assert (record.keep_result, record.worker) == (True, "host:1")


IGNORED = msgspec.structs.replace(TERMS, ignore_result=True)


def test_a_success_whose_result_is_ignored_has_nothing_to_keep_and_nothing_to_send() -> None:
    """Of a first attempt nothing is known anywhere."""
    assert settlement(outcome(), None, IGNORED) is NOTHING_TO_DO


@pytest.mark.parametrize(
    "known",
    [{"attempt": 2}, {"unknown": 1}, {"case": "c"}, {"release": "r"}, {"unique": "u"}],
)
def test_the_success_of_what_is_known_already_is_recorded_without_its_result(
    known: dict[str, Any],
) -> None:
    """An earlier attempt, a case or a unique key has to hear of the end."""
    record = settlement(outcome(**known), None, IGNORED).record
    assert record is not None
    assert not record.keep_result


def test_a_caller_hears_of_a_success_whose_result_is_ignored() -> None:
    """The completion note goes out all the same."""
    plan = settlement(outcome(on_done="https://h/x"), None, IGNORED)
    assert len(plan.sends) == 1


@pytest.mark.parametrize(
    ("decision", "status", "expected"),
    [
        (Decision(do="retry", rule="r", delay=3.0), Status.RETRYING, ["retry"]),
        (Decision(do="ignore", rule="r"), Status.IGNORED, ["ignored"]),
        (Decision(do="ignore", rule="r", keep=0), Status.IGNORED, []),
        (Decision(do="expire", rule="r"), Status.EXPIRED, ["ignored"]),
        (Decision(do="review", rule="r"), Status.IN_REVIEW, ["review"]),
        (Decision(do="quarantine", rule="r"), Status.QUARANTINED, ["quarantine"]),
        (Decision(do="review", rule="r", notify=True), Status.IN_REVIEW, ["notify", "review"]),
        (
            Decision(do="retry", rule="r", delay=3.0, notify=True),
            Status.RETRYING,
            ["notify", "retry"],
        ),
        (Decision(do="ignore", rule="r", keep=0, notify=True), Status.IGNORED, ["notify"]),
    ],
)
def test_each_decision_has_its_status_and_its_follow_ups(
    decision: Decision, status: Status, expected: list[str]
) -> None:
    """People are told first; every follow-up is persistent and mandatory."""
    plan = failed(decision)
    assert plan.status is status
    assert plan.record is not None
    assert plan.record.status is status
    names = [
        "retry" if one.exchange == "shop.delay" else one.routing_key.split(".")[0]
        for one in plan.sends
    ]
    assert names == expected
    assert all(one.mandatory and one.properties.delivery_mode == 2 for one in plan.sends)
    assert {one.exchange for one in plan.sends} <= {"shop.delay", "shop.fail"}


def test_a_retry_is_the_next_attempt_with_its_history() -> None:
    """By the queue that is exact for this delay, with the body untouched."""
    (sent,) = failed(Decision(do="retry", rule="r", delay=3.0)).sends
    following = decode(sent.properties, sent.body, queue="emails")
    assert sent.routing_key == "retry.3s.emails"
    assert (following.id, following.attempt, following.body) == ("job-1", 2, envelope().body)
    assert following.due == 2004.5
    (record,) = following.history
    assert (record.attempt, record.started, record.seconds) == (1, 2000.0, 1.5)
    assert (record.error_type, record.error) == ("KeyError", "x" * ERROR_KEPT)


def test_the_next_attempt_is_signed_anew() -> None:
    """Its number is covered by the signature: the old one would not hold."""
    terms = msgspec.structs.replace(
        TERMS, renew=lambda one: msgspec.structs.replace(one, signature=f"k:{one.attempt}")
    )
    decision = Decision(do="retry", rule="r", delay=3.0)
    (sent,) = settlement(outcome(FAILURE, signature="k:1"), decision, terms).sends
    assert decode(sent.properties, sent.body, queue="emails").signature == "k:2"


@pytest.mark.parametrize("delay", [0.0, None])
def test_a_retry_without_delay_still_waits_a_moment(delay: float | None) -> None:
    """Straight back it could spin, or deadlock with a full queue."""
    (sent,) = failed(Decision(do="retry", rule="r", delay=delay)).sends
    assert sent.exchange == "shop.delay"
    assert decode(sent.properties, b"", queue="q").due == 2001.5 + SHORTEST_RETRY


def test_a_failed_message_says_why() -> None:
    """Failure, decision and rule as headers, the attempt itself in the history."""
    (sent,) = failed(Decision(do="review", rule="because"), attempt=3).sends
    headers = sent.properties.headers
    assert msgspec.json.decode(headers[h.FAILURE], type=Failure) == FAILURE
    assert (headers[h.REASON], headers[h.RULE]) == ("review", "because")
    assert decode(sent.properties, sent.body, queue="emails").history[-1].attempt == 3
    assert sent.body == envelope().body


def test_a_note_carries_no_arguments() -> None:
    """The notifier holds thousands of notes at a time."""
    note, case = failed(Decision(do="review", rule="r", notify=True)).sends
    assert (note.body, case.body) == (b"", envelope().body)


def test_a_queue_may_have_its_own_review() -> None:
    """As the config says."""
    decision = Decision(do="review", rule="r")
    assert routes(failed(decision, queue="own")) == [("shop.fail", "review.own")]
    assert routes(failed(decision)) == [("shop.fail", "review")]


def test_a_queue_may_keep_nothing_of_what_is_ignored() -> None:
    """A rule's own word wins over the queue's."""
    assert failed(Decision(do="ignore", rule="r"), queue="nothing").sends == ()
    assert len(failed(Decision(do="ignore", rule="r", keep=9), queue="nothing").sends) == 1
    assert len(failed(Decision(do="ignore", rule="r"), queue="left the config").sends) == 1


@pytest.mark.parametrize(
    ("decision", "status"),
    [
        (None, "succeeded"),
        (Decision(do="ignore", rule="r", keep=0), "ignored"),
        (Decision(do="expire", rule="r", keep=0), "expired"),
        (Decision(do="quarantine", rule="r"), "quarantined"),
    ],
)
def test_a_caller_who_asked_hears_of_every_end(decision: Decision | None, status: str) -> None:
    """By a note for the notifier, the last of the sends."""
    failure = FAILURE if decision else None
    plan = settlement(outcome(failure, on_done="https://a.example/x"), decision, TERMS)
    note = plan.sends[-1]
    headers = note.properties.headers
    assert (note.exchange, note.routing_key, note.body) == ("shop.fail", "notify", b"")
    assert (headers[h.REASON], headers[h.STATUS]) == ("completed", status)
    assert headers[h.ENDED] == 2_001_500
    assert (h.FAILURE in headers) == (decision is not None)


@pytest.mark.parametrize("do", ["retry", "review"])
def test_what_has_not_ended_completes_nothing(do: Any) -> None:
    """A retry goes on, a case waits for a person."""
    decision = Decision(do=do, rule="r", delay=3.0 if do == "retry" else None)
    assert len(failed(decision, on_done="https://a.example/x").sends) == 1


def test_a_redelivery_repeats_what_was_decided() -> None:
    """The same messages, by what the inbox holds, and nothing to record."""
    decision = Decision(do="review", rule="r", notify=True)
    first = failed(decision)
    assert first.record is not None
    assert first.record.decision is not None
    again = repeated(envelope(), first.record.decision, TERMS)
    assert again.record is None
    assert again.status is first.status
    assert routes(again) == routes(first)
    assert repeated(envelope(), b"", TERMS) == Settlement(status=Status.SUCCEEDED, record=None)


def test_what_a_person_discards_has_failed_and_goes_nowhere() -> None:
    """No queue keeps a copy of it, but whoever asked hears that it ended."""
    discard = Decision(do="discard", rule="discarded by ann: too old")
    plan = failed(discard)
    assert (plan.status, plan.sends) == (Status.FAILED, ())
    assert routes(failed(discard, on_done="https://hooks.example")) == [("shop.fail", "notify")]


@pytest.mark.parametrize("decision", [None, Decision(do="discard", rule="by ann")])
def test_a_persons_ending_is_kept_as_an_attempts_own_would_be(decision: Decision | None) -> None:
    """One ending: a copy of that message repeats it."""
    one = outcome(FAILURE if decision else None)
    record = kept(one, decision, Keeping(keep=60.0))
    own = settlement(one, decision, TERMS).record
    assert own is not None
    assert record == msgspec.structs.replace(own, worker="")
    again = repeated(one.envelope, record.decision or b"", TERMS)
    assert again.status is (Status.FAILED if decision else Status.SUCCEEDED)


def test_a_running_attempt_is_noted() -> None:
    """With its start."""
    record = running(envelope(), TERMS)
    assert record.status is Status.RUNNING
    assert abs(record.started - now()) < 60


def test_the_seconds_of_an_outcome_are_never_negative() -> None:
    """The wall clock may jump."""
    jumped = Outcome(envelope=envelope(), started=9.0, ended=8.0)
    assert jumped.seconds == 0.0


def frame_of(message: Outgoing) -> int:
    """How large its header frame is."""
    return len(header_payload(message))


LONG = st.text("\x01a나🐇", min_size=1, max_size=20)


@given(LONG, LONG, LONG)
def test_no_failure_outgrows_a_header_frame(error: str, traceback: str, kind: str) -> None:
    """The broker would close the connection on it, again and again."""
    record = {"attempt": 1, "started": 1.0, "seconds": 1.0}
    one = outcome(
        Failure(
            kind="error",
            error_type=(kind * 255)[:255],
            error=(error * 2000)[:2000],
            classes=((kind * 255)[:255],) * 12,
            traceback=(traceback * 16_000)[:16_000],
        ),
        id="i" * 255,
        on_done="u" * 4096,
        trace="t" * 4096,
    )
    for _ in range(20):
        retry = settlement(one, Decision(do="retry", rule="r", delay=1.0), TERMS).sends[0]
        assert frame_of(retry) <= FRAME
        following = decode(retry.properties, b"", queue="emails")
        one = msgspec.structs.replace(one, envelope=following)
    for decision in (Decision(do="review", rule="r"), Decision(do="ignore", rule="r")):
        assert all(frame_of(sent) <= FRAME for sent in settlement(one, decision, TERMS).sends)
    assert record
