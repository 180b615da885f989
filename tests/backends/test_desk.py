"""The desk: every action, its refusals, and what it leaves behind."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from rabbitjobs.backend.protocol import Record, Status
from rabbitjobs.backend.sql import SqlBackend
from rabbitjobs.clock import now, uuid7
from rabbitjobs.errors import (
    ActionRefused,
    ArgumentsRefused,
    BrokerUnavailable,
    CaseChanged,
    CaseNotFound,
    SendUnknown,
    Unroutable,
)
from rabbitjobs.review.case import Case, Filters
from rabbitjobs.review.desk import Desk
from rabbitjobs.review.intake import FailedMessage, take_in
from rabbitjobs.store.engine import Store
from rabbitjobs.store.outbox import Outbox, OutboxRow
from tests.backends.desk_broker import Broker

Failed = Callable[..., FailedMessage]
Outcome = Callable[..., Record]
OTHER_BODY = b'{"args":["b@example.org"],"kwargs":{}}'


def actions(desk: Desk, case: Case) -> list[str]:
    return [row.action for row in desk.audit(case.id)]


# --- retry -----------------------------------------------------------------------------------


def test_a_retry_sends_the_next_attempt(desk: Desk, broker: Broker, case: Case) -> None:
    """The same job id and bytes; the attempt after the last; linked to case and release."""
    released = desk.retry(case.id, who="ann", version=1)
    (row,) = broker.sent
    envelope = row.envelope
    assert (envelope.id, envelope.attempt, envelope.body) == (case.job_id, 4, case.payload)
    assert (envelope.case, envelope.release) == (case.id, released.release_id)
    assert (released.state, released.release_attempt) == ("released", 4)
    assert actions(desk, case) == ["open", "retry", "released"]
    assert desk.audit(case.id)[1].who == "ann"


def test_a_retry_may_go_to_another_queue(desk: Desk, broker: Broker, case: Case) -> None:
    """The envelope is routed there."""
    desk.retry(case.id, who="ann", version=1, queue="slow")
    assert (broker.sent[0].queue, broker.sent[0].envelope.queue) == ("slow", "slow")


async def test_an_attempt_is_never_allocated_twice(
    backend: SqlBackend, desk: Desk, broker: Broker, case: Case, outcome: Outcome
) -> None:
    """Beyond every attempt recorded, and beyond the one that a retrying job has under way."""
    await backend.record(outcome(str(case.job_id), 8, status=Status.RETRYING))
    desk.retry(case.id, who="ann", version=1)
    assert broker.sent[0].envelope.attempt == 10


def test_an_expired_job_is_not_sent_expired(
    store: Store, desk: Desk, broker: Broker, failed: Failed
) -> None:
    """A person has decided: the old expiry and due time are void."""
    case_id = take_in(store, failed(expires=1.0, due=1.0))
    desk.retry(case_id, who="ann", version=1)
    assert (broker.sent[0].envelope.expires, broker.sent[0].envelope.due) == (None, None)


async def test_a_released_job_closes_its_case(
    backend: SqlBackend, desk: Desk, broker: Broker, case: Case, outcome: Outcome
) -> None:
    """By its own success only; a retry in between leaves it released."""
    released = desk.retry(case.id, who="ann", version=1)
    job, about = str(case.job_id), {"case": case.id, "release": released.release_id}
    assert backend.get(job).status is Status.QUEUED  # type: ignore[union-attr]
    await backend.record(outcome(job, 4, status=Status.RETRYING, **about))
    assert desk.get(case.id).state == "released"
    await backend.record(outcome(job, 5, **about))
    closed = desk.get(case.id)
    assert (closed.state, closed.outcome) == ("closed", "succeeded after release")
    assert actions(desk, case)[-1] == "close"


@pytest.mark.parametrize("status", [Status.IGNORED, Status.FAILED, Status.EXPIRED])
async def test_any_end_of_a_released_job_closes_its_case(
    backend: SqlBackend, desk: Desk, case: Case, outcome: Outcome, status: Status
) -> None:
    """And says which it was."""
    released = desk.retry(case.id, who="ann", version=1)
    record = outcome(str(case.job_id), 4, status=status, case=case.id, release=released.release_id)
    await backend.record(record)
    assert desk.get(case.id).outcome == f"{status.value} after release"


async def test_a_job_that_fails_again_reopens_its_case(
    store: Store, backend: SqlBackend, desk: Desk, case: Case, failed: Failed, outcome: Outcome
) -> None:
    """With the new failure, and ready for the next release."""
    released = desk.retry(case.id, who="ann", version=1)
    about = {"case": case.id, "release": released.release_id}
    await backend.record(outcome(str(case.job_id), 4, status=Status.IN_REVIEW, **about))
    assert take_in(store, failed(case.job_id, 4, **about)) == case.id
    again = desk.get(case.id)
    assert (again.state, again.attempt) == ("open", 4)
    assert desk.retry(case.id, who="ann", version=again.version).release_attempt == 5


async def test_an_old_release_does_not_close_a_new_one(
    backend: SqlBackend, store: Store, desk: Desk, case: Case, failed: Failed, outcome: Outcome
) -> None:
    """A late copy of the first release ends after the second was made."""
    first = desk.retry(case.id, who="ann", version=1)
    take_in(store, failed(case.job_id, 4, case=case.id, release=first.release_id))
    desk.retry(case.id, who="ann", version=desk.get(case.id).version)
    await backend.record(outcome(str(case.job_id), 4, case=case.id, release=first.release_id))
    assert desk.get(case.id).state == "released"


async def test_a_job_may_end_before_its_release_is_marked(
    backend: SqlBackend, store: Store, case: Case, outcome: Outcome
) -> None:
    """The worker is quicker than the desk's last step: the case stays closed."""
    import asyncio

    loop = asyncio.get_running_loop()

    def publish(row: OutboxRow) -> None:
        envelope = row.envelope
        record = outcome(
            envelope.id, envelope.attempt, case=envelope.case, release=envelope.release
        )
        asyncio.run_coroutine_threadsafe(backend.record(record), loop).result(60)

    desk = Desk(store, publish, lambda _job, _body: None)
    done = await asyncio.to_thread(desk.retry, case.id, who="ann", version=1)
    assert (done.state, done.outcome) == ("closed", "succeeded after release")


async def test_a_month_later_a_release_is_still_known(
    backend: SqlBackend, desk: Desk, case: Case, outcome: Outcome
) -> None:
    """The inbox rows of a job are pinned while its case lives, and a week beyond."""
    job = str(case.job_id)
    await backend.record(outcome(job, 3, status=Status.IN_REVIEW))
    released = desk.retry(case.id, who="ann", version=1)
    backend.clean(now() + 40 * 86400)
    assert await backend.recorded(job, 3) is not None
    about = {"case": case.id, "release": released.release_id}
    await backend.record(outcome(job, 4, ended=now() + 41 * 86400, **about))
    backend.clean(now() + 45 * 86400)
    assert await backend.recorded(job, 4) is not None
    backend.clean(now() + 50 * 86400)
    assert await backend.recorded(job, 4) is None


# --- when the broker does not take it --------------------------------------------------------


@pytest.mark.parametrize("error", [SendUnknown("no confirm"), BrokerUnavailable("down")])
def test_a_relay_finishes_what_the_broker_did_not_confirm(
    store: Store, desk: Desk, broker: Broker, case: Case, error: Exception
) -> None:
    """The case stays releasing, the promise in the outbox; the relay publishes the same attempt."""
    broker.error = error
    assert desk.retry(case.id, who="ann", version=1).state == "releasing"
    relay = Outbox(store)
    assert relay.take() == []  # leased to the desk for a while
    store.run(_let_leases_end)
    (row,) = relay.take()
    assert (row.envelope.attempt, row.case_id) == (4, case.id)
    relay.published([row])
    assert desk.get(case.id).state == "released"
    assert relay.waiting() == 0


def test_what_the_broker_refuses_for_good_is_open_again(
    store: Store, backend: SqlBackend, desk: Desk, broker: Broker, case: Case
) -> None:
    """Nothing is left in the outbox, and the reason stands in the audit."""
    broker.error = Unroutable("no queue is bound")
    with pytest.raises(Unroutable):
        desk.retry(case.id, who="ann", version=1, queue="nowhere")
    assert desk.get(case.id).state == "open"
    assert Outbox(store).waiting() == 0
    assert "no queue" in desk.audit(case.id)[-1].detail
    assert backend.get(str(case.job_id)).status is Status.IN_REVIEW  # type: ignore[union-attr]
    broker.error = None
    desk.retry(case.id, who="ann", version=desk.get(case.id).version)
    assert broker.sent[0].envelope.attempt == 5


def test_a_lost_release_can_be_taken_back(desk: Desk, case: Case) -> None:
    """Its queue was deleted, say: a person says so."""
    released = desk.retry(case.id, who="ann", version=1)
    with pytest.raises(ActionRefused):
        desk.retry(case.id, who="ann", version=released.version)
    opened = desk.reopen(case.id, "queue deleted", who="ann", version=released.version)
    assert opened.state == "open"


async def test_a_release_that_no_broker_takes_can_be_taken_back(
    store: Store, backend: SqlBackend, desk: Desk, broker: Broker, case: Case, outcome: Outcome
) -> None:
    """Nothing is promised any more; if a relay had it in hand, its job's end closes the case."""
    broker.error = SendUnknown("no confirm")
    stuck = desk.retry(case.id, who="ann", version=1)
    opened = desk.reopen(case.id, "broker gone", who="ann", version=stuck.version)
    assert (opened.state, Outbox(store).waiting()) == ("open", 0)
    about = {"case": case.id, "release": stuck.release_id}
    await backend.record(outcome(str(case.job_id), 4, **about))
    assert desk.get(case.id).state == "closed"


# --- edit ------------------------------------------------------------------------------------


def test_an_edit_is_a_new_case_for_a_new_message(desk: Desk, broker: Broker, case: Case) -> None:
    """Linked both ways; the old bytes stay, the change is in the audit of both."""
    child = desk.edit(case.id, OTHER_BODY, who="ann", version=1)
    parent = desk.get(case.id)
    assert (parent.state, parent.child_id, parent.payload) == ("closed", child.id, case.payload)
    assert (child.state, child.parent_id, child.payload) == ("released", case.id, OTHER_BODY)
    envelope = broker.sent[0].envelope
    assert (envelope.id, envelope.attempt, envelope.case) == (case.job_id, 4, child.id)
    assert envelope.body == OTHER_BODY
    (edit,) = [row for row in desk.audit(child.id) if row.action == "edit"]
    assert '-    "a@example.org"' in edit.detail
    assert '+    "b@example.org"' in edit.detail
    assert (edit.before_hash, edit.after_hash) == (case.payload_hash, child.payload_hash)
    assert actions(desk, parent) == ["open", "edit"]


@pytest.mark.parametrize("body", [b'{"args":["bad"]}', b'{"args":["a@example.org"],"kwargs":{}}'])
def test_an_edit_that_does_not_fit_changes_nothing(desk: Desk, case: Case, body: bytes) -> None:
    """Bad arguments, or the same ones."""
    with pytest.raises(ArgumentsRefused):
        desk.edit(case.id, body, who="ann", version=1)
    assert desk.get(case.id) == case


def test_a_refused_edit_leaves_the_edited_case_open(desk: Desk, broker: Broker, case: Case) -> None:
    """The edit is not lost with the publish."""
    broker.error = Unroutable("no queue is bound")
    with pytest.raises(Unroutable):
        desk.edit(case.id, OTHER_BODY, who="ann", version=1)
    child = desk.get(str(desk.get(case.id).child_id))
    assert (child.state, child.payload) == ("open", OTHER_BODY)


# --- two people ------------------------------------------------------------------------------


def test_a_stale_action_is_refused_with_what_changed(desk: Desk, case: Case) -> None:
    """The second one sees who did what."""
    desk.discard(case.id, "duplicate\0", who="ann", version=1)
    with pytest.raises(CaseChanged, match=r"discard by ann \(duplicate\\x00\)"):
        desk.retry(case.id, who="bob", version=1)


def test_of_two_reviewers_at_once_one_wins(
    store_url: str, store: Store, broker: Broker, case: Case
) -> None:
    """Each in a process of its own as far as the store can tell: one release, one refusal."""
    outcomes: list[str] = []
    start = threading.Barrier(4)

    def act(number: int) -> None:
        own = Store(store_url, namespace=store.namespace)
        desk = Desk(own, broker, lambda _job, _body: None)
        desk.get(case.id)
        start.wait(60)
        try:
            outcomes.append(desk.retry(case.id, who=f"r{number}", version=1).state)
        except CaseChanged:
            outcomes.append("changed")
        own.close()

    threads = [threading.Thread(target=act, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(outcomes) == ["changed", "changed", "changed", "released"]
    assert len(broker.sent) == 1


# --- looking ---------------------------------------------------------------------------------


def test_lists_are_paged_newest_first(store: Store, desk: Desk, failed: Failed) -> None:
    """By key: no page repeats or misses a case when others come in between."""
    made = [take_in(store, failed()) for _ in range(5)]
    first = desk.list(limit=2)
    take_in(store, failed())
    rest = desk.list(limit=10, after=first.after)
    assert [case.id for case in first.cases + rest.cases] == made[::-1]
    assert rest.after is None


def test_lists_are_filtered(store: Store, desk: Desk, failed: Failed) -> None:
    """By state, queue, job, error type and text, together."""
    wanted = take_in(store, failed(queue="images", body=b'{"args":["Needle"],"kwargs":{}}'))
    take_in(store, failed())
    gone = take_in(store, failed())
    desk.discard(gone, "no", who="ann", version=1)
    one = Filters(state="open", queue="images", text="needle", error_type="smtplib.SMTPDataError")
    assert [case.id for case in desk.list(one).cases] == [wanted]
    assert [case.id for case in desk.list(Filters(state="discarded")).cases] == [gone]
    assert desk.list(Filters(job="nobody")).cases == ()


def test_counts_by_state_queue_error_and_age(store: Store, broker: Broker, failed: Failed) -> None:
    """Open ones by what they have in common."""
    later = Desk(store, broker, lambda _job, _body: None, clock=lambda: now() + 7200)
    for queue in ("emails", "emails", "images"):
        take_in(store, failed(queue=queue))
    over = take_in(store, failed())
    later.discard(over, "no", who="ann", version=1)
    counts = later.stats()
    assert counts.states == {"open": 3, "discarded": 1}
    assert counts.queues == {"emails": 2, "images": 1}
    assert counts.error_types == {"smtplib.SMTPDataError": 3}
    assert counts.ages == {"< 1d": 3}


def test_a_short_id_is_enough_when_only_one_starts_so(
    store: Store, desk: Desk, case: Case, failed: Failed
) -> None:
    """Else, and for no case at all, the error says so."""
    assert desk.get(case.id[:-4]) == case
    assert desk.get(case.id.upper()) == case
    take_in(store, failed())
    for wrong in ("0", "", "%", "nothing", "\0", "\ud800"):
        with pytest.raises(CaseNotFound):
            desk.get(wrong)


def test_cases_of_another_namespace_are_not_seen(
    store_url: str, broker: Broker, case: Case
) -> None:
    """Nor acted on."""
    other = Store(store_url, namespace=uuid7())
    stranger = Desk(other, broker, lambda _job, _body: None)
    assert stranger.list().cases == ()
    with pytest.raises(CaseNotFound):
        stranger.discard(case.id, "mine", who="eve", version=1)
    other.close()


def test_comments_and_tags_stay_with_a_case(desk: Desk, case: Case) -> None:
    """Each is an audit row and a new version."""
    commented = desk.comment(case.id, "asked the customer", who="ann", version=1)
    tagged = desk.tag(case.id, ("vip", "mail", "vip"), who="ann", version=commented.version)
    assert tagged.tags == ("mail", "vip")
    assert [row.detail for row in desk.audit(case.id)][1:] == [
        "asked the customer",
        "vip, mail, vip",
    ]
    with pytest.raises(CaseChanged):
        desk.comment(case.id, "late", who="bob", version=1)


def _let_leases_end(connection: object) -> None:
    from sqlalchemy import update

    from rabbitjobs.store.schema import outbox

    connection.execute(update(outbox).values(leased_until=0.0))  # type: ignore[attr-defined]
