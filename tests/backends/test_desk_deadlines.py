"""Deadlines: what is done with a case that nobody has decided in time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from rabbitjobs.backend.protocol import Record, Status
from rabbitjobs.backend.sql import SqlBackend
from rabbitjobs.clock import now, uuid7
from rabbitjobs.errors import Unroutable
from rabbitjobs.policy.decision import Failure
from rabbitjobs.review.case import Case
from rabbitjobs.review.desk import Desk
from rabbitjobs.review.intake import FailedMessage, take_in
from rabbitjobs.review.options import DeadlineRule, DeskOptions, Person
from rabbitjobs.store.engine import Store
from tests.backends.desk_broker import Broker

Failed = Callable[..., FailedMessage]
DAY = 86400.0
# People beside it: a deadline needs no rights.
PEOPLE = {"ann": Person(name="ann", role="reviewer")}


def options(do: Any) -> DeskOptions:
    """A deadline of a day for mails, another for the rest."""
    return DeskOptions(
        people=PEOPLE,
        deadlines={
            "emails": DeadlineRule(after=timedelta(days=1), do=do),
            "*": DeadlineRule(after=timedelta(days=9), do="escalate"),
        },
    )


class Late:
    """A desk a day and some later, and what stands on it."""

    def __init__(self, store: Store, broker: Broker, failed: Failed, do: str) -> None:
        self.at = now() + DAY + 60
        self.options = options(do)
        self.desk = Desk(store, broker, lambda _j, _b: None, lambda: self.at, options=self.options)
        self.case = self.desk.get(take_in(store, failed(uuid7(), 1), self.options))

    def now(self) -> Case:
        """The case as it is."""
        return self.desk.get(self.case.id)


def test_a_case_has_the_deadline_of_its_queue(store: Store, desk: Desk, failed: Failed) -> None:
    """Or that of every queue; without a rule, none."""
    mail = desk.get(take_in(store, failed(), options("discard")))
    image = desk.get(take_in(store, failed(queue="images"), options("discard")))
    none = desk.get(take_in(store, failed()))
    assert mail.deadline is not None
    assert image.deadline is not None
    assert mail.deadline == pytest.approx(mail.opened + DAY)
    assert (mail.deadline_do, image.deadline_do) == ("discard", "escalate")
    assert image.deadline == pytest.approx(image.opened + 9 * DAY)
    assert (none.deadline, none.deadline_do) == (None, None)
    assert [one.id for one in desk.list(sort="deadline").cases] == [mail.id, image.id]


def test_before_its_deadline_nothing_happens(store: Store, broker: Broker, failed: Failed) -> None:
    """A minute is a minute."""
    late = Late(store, broker, failed, "discard")
    late.at = now() + DAY - 60
    assert late.desk.keep_up().deadlines == 0
    assert late.now() == late.case


def test_a_discard_ends_the_job(
    store: Store, backend: SqlBackend, broker: Broker, failed: Failed
) -> None:
    """Who waits for it hears that nobody had decided."""
    late = Late(store, broker, failed, "discard")
    assert late.desk.keep_up().deadlines == 1
    ended = late.now()
    assert (ended.state, ended.owner) == ("discarded", "deadline")
    stored = backend.get(str(ended.job_id))
    assert stored is not None
    assert stored.status is Status.FAILED
    assert "nobody had decided" in str(stored.error)
    assert late.desk.keep_up().deadlines == 0


def test_a_retry_sends_it_once_and_then_calls_for_a_person(
    store: Store, broker: Broker, failed: Failed
) -> None:
    """A job that fails each day would be sent each day for ever."""
    late = Late(store, broker, failed, "retry")
    late.desk.keep_up()
    released = late.now()
    assert (released.state, len(broker.sent)) == ("released", 1)
    about = {"case": released.id, "release": released.release_id}
    take_in(store, failed(str(released.job_id), 2, **about), late.options)
    late.desk.keep_up()
    again = late.now()
    assert (again.state, again.severity, again.deadline) == ("open", 1, None)
    assert len(broker.sent) == 1


def test_an_escalation_raises_the_severity_once(
    store: Store, broker: Broker, failed: Failed
) -> None:
    """The case stays open and has no deadline any more."""
    late = Late(store, broker, failed, "escalate")
    assert [late.desk.keep_up().deadlines for _ in range(2)] == [1, 0]
    assert (late.now().state, late.now().severity) == ("open", 1)
    assert late.desk.audit(late.case.id)[-1].who == "deadline"


@pytest.mark.parametrize("how", ["claimed", "snoozed"])
def test_a_case_that_is_in_hand_is_let_be(
    store: Store, broker: Broker, failed: Failed, how: str
) -> None:
    """Until the lease or the snooze ends."""
    late = Late(store, broker, failed, "discard")
    if how == "claimed":
        late.desk.claim(late.case.id, who="ann", version=1)
    else:
        late.desk.snooze(late.case.id, timedelta(minutes=10), who="ann", version=1)
    assert late.desk.keep_up().deadlines == 0
    late.at += 601
    assert late.desk.keep_up().deadlines == 1
    assert late.now().state == "discarded"


async def test_what_cannot_be_done_becomes_a_persons(
    store: Store, backend: SqlBackend, broker: Broker, failed: Failed,
    outcome: Callable[..., Record],
) -> None:  # fmt: skip
    """A job that has succeeded meanwhile is not discarded; the audit says what came of it."""
    late = Late(store, broker, failed, "discard")
    await backend.record(outcome(str(late.case.job_id), 2))
    late.desk.keep_up()
    assert (late.now().state, late.now().severity) == ("open", 1)
    assert "succeeded in attempt 2" in late.desk.audit(late.case.id)[-1].detail
    assert late.desk.keep_up().deadlines == 0


def test_a_retry_that_the_broker_refuses_is_open_again(
    store: Store, broker: Broker, failed: Failed
) -> None:
    """And escalates at the next look: it is not tried for ever."""
    late = Late(store, broker, failed, "retry")
    broker.error = Unroutable("no queue is bound")
    late.desk.keep_up()
    assert late.now().state == "open"
    late.desk.keep_up()
    assert (late.now().severity, late.now().deadline) == (1, None)


def test_nobody_is_approved_by_a_deadline(store: Store, broker: Broker, failed: Failed) -> None:
    """A retry would be a yes that no person gave; a discard is a no."""
    gate = Failure(kind="approval", error_type="NeedsApproval", error="")
    for do, state in (("retry", "open"), ("discard", "discarded")):
        late = Late(store, broker, lambda *a, **k: failed(*a, **{**k, "failure": gate}), do)
        late.desk.keep_up()
        assert late.now().state == state
    assert broker.sent == []
    assert late.desk.audit(late.case.id)[-1].action == "reject"


def test_one_bad_case_does_not_hold_up_the_rest(
    store: Store, broker: Broker, failed: Failed
) -> None:
    """An unreadable message cannot be retried; the job behind it is."""
    late = Late(store, broker, failed, "retry")
    message = failed(raw=b"\x80", failure=None, reason="dead-letter")
    message = msgspec.structs.replace(message, envelope=None, queue="emails")
    unreadable = take_in(store, message, late.options)
    assert late.desk.keep_up().deadlines == 2
    assert late.now().state == "released"
    assert late.desk.get(unreadable).severity == 1
