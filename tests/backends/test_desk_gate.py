"""Approve and reject: the desk's side of the gate before a job, and what counts as a yes."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from rabbitjobs.backend.protocol import Record, Status
from rabbitjobs.backend.sql import SqlBackend
from rabbitjobs.clock import uuid7
from rabbitjobs.ending.settlement import Outcome, Terms, settlement
from rabbitjobs.errors import ActionRefused
from rabbitjobs.policy.decision import Failure
from rabbitjobs.review.case import Case
from rabbitjobs.review.desk import Desk
from rabbitjobs.review.intake import FailedMessage, take_in
from rabbitjobs.store.engine import Store
from rabbitjobs.topology.model import default_spec
from tests.backends.desk_broker import Broker

Failed = Callable[..., FailedMessage]
GATE = Failure(kind="approval", error_type="approval", error="it waits for a person's yes")


@pytest.fixture
def gate(store: Store, desk: Desk, failed: Failed) -> Case:
    """A job that has not run."""
    return desk.get(take_in(store, failed(uuid7(), 1, failure=GATE)))


async def test_a_yes_lets_the_job_run_and_its_end_closes_the_case(
    backend: SqlBackend, desk: Desk, broker: Broker, gate: Case, outcome: Callable[..., Record]
) -> None:
    """As the next attempt; the audit says who said yes."""
    released = desk.approve(gate.id, who="ann", version=1)
    envelope = broker.sent[0].envelope
    assert await backend.approved(envelope)
    assert (envelope.attempt, envelope.body) == (2, gate.payload)
    assert [(row.action, row.who) for row in desk.audit(gate.id)][1] == ("approve", "ann")
    about = {"case": gate.id, "release": released.release_id}
    await backend.record(outcome(str(gate.job_id), 2, **about))
    assert desk.get(gate.id).outcome == "succeeded after release"


async def test_only_what_a_person_has_seen_is_approved(
    backend: SqlBackend, desk: Desk, broker: Broker, gate: Case
) -> None:
    """Another payload, job, id or case in the same headers is not; nor was it before his yes."""
    assert gate.envelope is not None
    early = msgspec.structs.replace(gate.envelope, case=gate.id, release="mine", attempt=2)
    assert not await backend.approved(early)
    desk.approve(gate.id, who="ann", version=1)
    envelope = broker.sent[0].envelope
    changes = (
        {"body": b'{"args":["evil"]}'},
        {"job": "shop.other"},
        {"id": uuid7()},
        {"case": uuid7()},
        {"case": None},
        {"case": "\0\ud800"},
    )
    for change in changes:
        assert not await backend.approved(msgspec.structs.replace(envelope, **change))
    assert await backend.approved(msgspec.structs.replace(envelope, attempt=3))


async def test_a_yes_ends_with_the_job_or_when_it_is_taken_back(
    backend: SqlBackend, desk: Desk, broker: Broker, gate: Case, outcome: Callable[..., Record]
) -> None:
    """A copy that comes later, from wherever, needs a yes of its own."""
    released = desk.approve(gate.id, who="ann", version=1)
    first = broker.sent[0].envelope
    desk.reopen(gate.id, "not this one", who="ann", version=released.version)
    assert not await backend.approved(first)
    again = desk.approve(gate.id, who="ann", version=desk.get(gate.id).version)
    assert await backend.approved(broker.sent[1].envelope)
    about = {"case": gate.id, "release": again.release_id}
    await backend.record(outcome(str(gate.job_id), 3, **about))
    assert desk.get(gate.id).state == "closed"
    assert not await backend.approved(msgspec.structs.replace(first, attempt=9))


def test_a_no_ends_the_job_as_failed(
    backend: SqlBackend, desk: Desk, broker: Broker, gate: Case
) -> None:
    """With the reason, and it never runs."""
    with pytest.raises(ActionRefused, match="reason"):
        desk.reject(gate.id, " ", who="ann", version=1)
    ended = desk.reject(gate.id, "over budget", who="ann", version=1)
    assert (ended.state, ended.outcome) == ("discarded", "rejected by ann: over budget")
    stored = backend.get(str(gate.job_id))
    assert stored is not None
    assert stored.status is Status.FAILED
    assert "rejected by ann: over budget" in str(stored.error)
    assert broker.sent == []


async def test_an_edit_is_a_yes_to_something_else(
    backend: SqlBackend, desk: Desk, broker: Broker, gate: Case
) -> None:
    """The edited message runs, the one that came does not."""
    desk.edit(gate.id, b'{"args":["b@example.org"],"kwargs":{}}', who="ann", version=1)
    envelope = broker.sent[0].envelope
    assert await backend.approved(envelope)
    old = msgspec.structs.replace(envelope, body=gate.payload)
    assert not await backend.approved(old)


def test_what_waits_for_a_yes_is_not_retried_nor_the_other_way_round(
    desk: Desk, gate: Case, case: Case
) -> None:
    """The words say what happens."""
    wrong: tuple[Callable[[], object], ...] = (
        lambda: desk.retry(gate.id, who="ann", version=1),
        lambda: desk.discard(gate.id, "x", who="ann", version=1),
    )
    for act in wrong:
        with pytest.raises(ActionRefused, match="allowed now: claim, approve"):
            act()
    wrong = (
        lambda: desk.approve(case.id, who="ann", version=1),
        lambda: desk.reject(case.id, "x", who="ann", version=1),
    )
    for act in wrong:
        with pytest.raises(ActionRefused, match="allowed now: claim, retry"):
            act()


def test_a_job_that_fails_after_its_yes_is_a_case_as_any_other(
    store: Store, desk: Desk, broker: Broker, gate: Case, failed: Failed
) -> None:
    """It has run: it can be retried."""
    released = desk.approve(gate.id, who="ann", version=1)
    about = {"case": gate.id, "release": released.release_id}
    take_in(store, failed(gate.job_id, 2, **about))
    again = desk.get(gate.id)
    assert again.actions == ("claim", "retry", "edit", "discard", "resolve", "snooze")
    assert desk.retry(gate.id, who="ann", version=again.version).release_attempt == 3


async def test_a_case_closes_by_the_end_of_a_job_that_keeps_no_results(
    backend: SqlBackend, desk: Desk, case: Case, outcome: Callable[..., Record]
) -> None:
    """The ending writes it, whether or not there is anything else to write."""
    released = desk.retry(case.id, who="ann", version=1)
    about = {"case": case.id, "release": released.release_id}
    record = outcome(str(case.job_id), 4, keep_result=False, **about)
    assert not record.leaves_no_trace
    assert await backend.record(record)
    closed = desk.get(case.id)
    assert (closed.state, closed.outcome) == ("closed", "succeeded after release")
    assert await backend.recorded(str(case.job_id), 4) == b""


def test_a_released_job_that_keeps_no_result_is_recorded_all_the_same(
    desk: Desk, broker: Broker, case: Case
) -> None:
    """Its ending must not take the short way of small jobs, which writes nothing."""
    desk.retry(case.id, who="ann", version=1)
    at = 1.0
    outcome = Outcome(envelope=broker.sent[0].envelope, started=at, ended=at, result=None)
    terms = Terms(spec=default_spec("shop"), keep=60.0, ignore_result=True)
    record = settlement(outcome, None, terms).record
    assert record is not None
    assert (record.case, record.release is None, record.leaves_no_trace) == (case.id, False, False)
