"""Ending a case by hand: what becomes of its job, and who may still do what."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from rabbitjobs.backend.protocol import Record, Status
from rabbitjobs.backend.sql import SqlBackend
from rabbitjobs.clock import now, uuid7
from rabbitjobs.ending.settlement import Terms, repeated
from rabbitjobs.errors import (
    ActionRefused,
    ArgumentsRefused,
)
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.review.case import Case
from rabbitjobs.review.desk import Desk
from rabbitjobs.review.intake import FailedMessage, take_in
from rabbitjobs.store.engine import Store
from rabbitjobs.store.outbox import Outbox
from rabbitjobs.topology.model import default_spec
from tests.backends.desk_broker import Broker

Failed = Callable[..., FailedMessage]
Outcome = Callable[..., Record]
OTHER_BODY = b'{"args":["b@example.org"],"kwargs":{}}'


async def test_a_resolved_job_has_succeeded(
    backend: SqlBackend, desk: Desk, case: Case, outcome: Outcome
) -> None:
    """For a caller who waits; a copy of the message that still comes is a duplicate."""
    resolved = desk.resolve(case.id, {"sent": True}, who="ann", version=1, reason="by phone")
    assert (resolved.state, resolved.outcome) == ("resolved", "resolved by ann: by phone")
    stored = backend.get(str(case.job_id))
    assert stored is not None
    assert (stored.status, stored.result) == (Status.SUCCEEDED, b'{"sent":true}')
    assert not await backend.record(outcome(str(case.job_id), 3, status=Status.FAILED))


def test_a_result_must_be_json(desk: Desk, case: Case) -> None:
    """Nothing else can be stored."""
    with pytest.raises(ArgumentsRefused):
        desk.resolve(case.id, object(), who="ann", version=1)


async def test_a_job_that_succeeded_meanwhile_is_not_resolved(
    backend: SqlBackend, desk: Desk, case: Case, outcome: Outcome
) -> None:
    """A caller has that result already."""
    await backend.record(outcome(str(case.job_id), 4, result=b"1"))
    actions: tuple[Callable[[], object], ...] = (
        lambda: desk.resolve(case.id, 2, who="ann", version=1),
        lambda: desk.discard(case.id, "no", who="ann", version=1),
    )
    for act in actions:
        with pytest.raises(ActionRefused, match="succeeded in attempt 4"):
            act()
    assert desk.get(case.id) == case


def test_a_discarded_job_has_failed(
    store: Store, backend: SqlBackend, desk: Desk, failed: Failed
) -> None:
    """The error says who gave it up; its unique key is free again."""
    key, job = uuid7(), uuid7()
    backend.claim_unique(key, job, now() + 60)
    case_id = take_in(store, failed(job, 3, unique=key))
    with pytest.raises(ActionRefused, match="reason"):
        desk.discard(case_id, " ", who="ann", version=1)
    assert desk.discard(case_id, "too old", who="ann", version=1).state == "discarded"
    stored = backend.get(job)
    assert stored is not None
    assert stored.status is Status.FAILED
    assert stored.error == "mailbox full (discarded by ann: too old)"
    assert backend.claim_unique(key, uuid7(), now() + 60) is None


async def test_a_discarded_job_does_not_run_when_a_copy_still_comes(
    backend: SqlBackend, desk: Desk, store: Store, failed: Failed, outcome: Outcome
) -> None:
    """Its message was dead-lettered by the broker, so that attempt had no ending of its own."""
    job = uuid7()
    desk.discard(take_in(store, failed(job, 3)), "too old", who="ann", version=1)
    recorded = await backend.recorded(job, 3)
    assert recorded
    terms = Terms(spec=default_spec("shop"), keep=60.0, ignore_result=False, worker="w")
    again = repeated(Envelope(id=job, job="j", queue="q", body=b"", attempt=3), recorded, terms)
    assert (again.status, again.sends) == (Status.FAILED, ())
    assert not await backend.record(outcome(job, 3))


async def test_a_person_ends_what_was_released_and_failed_again(
    backend: SqlBackend, desk: Desk, store: Store, failed: Failed, outcome: Outcome
) -> None:
    """The case is his: the message's earlier release does not close it a second time."""
    job = uuid7()
    released = desk.retry(take_in(store, failed(job, 3)), who="ann", version=1)
    marks = {"case": released.id, "release": released.release_id}
    await backend.record(outcome(job, 4, status=Status.IN_REVIEW, **marks))
    case = desk.get(take_in(store, failed(job, 4, **marks)))
    assert (case.id, case.state) == (released.id, "open")
    ended = desk.resolve(case.id, 7, who="bob", version=case.version)
    assert (ended.state, ended.version) == ("resolved", case.version + 1)
    assert [row.who for row in desk.audit(case.id)][-1] == "bob"
    stored = backend.get(job)
    assert stored is not None
    assert (stored.status, stored.attempt, stored.result) == (Status.SUCCEEDED, 4, b"7")


async def test_a_quarantined_job_can_be_resolved(
    store: Store, backend: SqlBackend, desk: Desk, failed: Failed, outcome: Outcome
) -> None:
    """Its state is final already, and still a person has the last word."""
    job = uuid7()
    await backend.record(outcome(job, 3, status=Status.QUARANTINED))
    desk.resolve(take_in(store, failed(job, 3)), 1, who="ann", version=1)
    assert backend.get(job).status is Status.SUCCEEDED  # type: ignore[union-attr]


@pytest.mark.parametrize("end", ["discarded", "resolved", "closed"])
async def test_an_ended_case_takes_no_action(
    backend: SqlBackend, desk: Desk, case: Case, outcome: Outcome, end: str
) -> None:
    """What is over is over."""
    if end == "discarded":
        over = desk.discard(case.id, "no", who="ann", version=1)
    elif end == "resolved":
        over = desk.resolve(case.id, 1, who="ann", version=1)
    else:
        release = desk.retry(case.id, who="ann", version=1).release_id
        await backend.record(outcome(str(case.job_id), 4, case=case.id, release=release))
        over = desk.get(case.id)
    actions: tuple[Callable[[], object], ...] = (
        lambda: desk.retry(case.id, who="bob", version=over.version),
        lambda: desk.edit(case.id, OTHER_BODY, who="bob", version=over.version),
        lambda: desk.discard(case.id, "no", who="bob", version=over.version),
        lambda: desk.resolve(case.id, 1, who="bob", version=over.version),
        lambda: desk.reopen(case.id, "no", who="bob", version=over.version),
    )
    for act in actions:
        with pytest.raises(ActionRefused, match=end):
            act()


def test_ending_a_case_by_hand_promises_the_callers_webhook(
    store: Store, failed: Failed, desk: Desk
) -> None:
    """Who asked for a webhook on completion gets one, whether a person or a worker ended it."""
    message = failed()
    assert message.envelope is not None
    envelope = msgspec.structs.replace(message.envelope, on_done="https://hooks.example/done")
    take_in(store, msgspec.structs.replace(message, envelope=envelope))
    (case,) = desk.list().cases
    desk.resolve(case.id, {"ok": True}, who="ada", version=case.version)
    (row,) = Outbox(store).take()
    assert (row.envelope.id, row.ended_as) == (envelope.id, "succeeded")


def test_a_result_given_by_hand_is_checked(store: Store, failed: Failed) -> None:
    """What does not fit is refused before anything is written: the caller could not read it."""

    def validate_result(job: str, result: bytes) -> None:
        raise ArgumentsRefused(f"expected a result as {job} returns it")

    strict = Desk(store, Broker(), lambda _job, _body: None, validate_result=validate_result)
    case = strict.get(take_in(store, failed()))
    with pytest.raises(ArgumentsRefused, match="returns it"):
        strict.resolve(case.id, 5, who="ann", version=case.version)
    assert strict.get(case.id) == case
