"""Bulk actions: frozen, tried dry, run, stopped and gone on with; an outcome for each case."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rabbitjobs.backend.protocol import Record, Status
from rabbitjobs.backend.sql import SqlBackend
from rabbitjobs.clock import now, uuid7
from rabbitjobs.errors import ActionRefused, BulkNotFound, NotAllowed, Unroutable
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.review.bulk_case import Bulk, Terms
from rabbitjobs.review.case import Filters
from rabbitjobs.review.desk import Desk
from rabbitjobs.review.intake import FailedMessage, take_in
from rabbitjobs.review.options import DeskOptions, Person
from rabbitjobs.store.engine import Store
from tests.backends.desk_broker import Broker

Failed = Callable[..., FailedMessage]
Outcome = Callable[..., Record]


@pytest.fixture
def many(store: Store, failed: Failed) -> list[str]:
    """Five open cases of one cause, oldest first."""
    return [take_in(store, failed(uuid7(), 1)) for _ in range(5)]


def fates(desk: Desk, bulk: Bulk) -> list[str]:
    return [item.fate for item in desk.bulk.outcomes(bulk.id).items]


def steps(desk: Desk, bulk: Bulk, number: int) -> Bulk:
    for _ in range(number):
        bulk = desk.bulk.step(bulk.id)
    return bulk


def test_a_bulk_action_is_for_the_cases_of_its_moment(
    store: Store, desk: Desk, broker: Broker, many: list[str], failed: Failed
) -> None:
    """What comes later is not in it; each has an outcome, in order."""
    bulk = desk.bulk.freeze("retry", Filters(job="shop.mail"), who="ann")
    assert (bulk.state, bulk.total, bulk.counts) == ("ready", 5, {"waiting": 5})
    later = take_in(store, failed())
    told: list[int] = []
    done = desk.bulk.run(bulk.id, who="ann", progress=lambda b: told.append(b.total))
    assert (done.state, done.counts) == ("done", {"under way": 5})
    assert [row.case_id for row in broker.sent] == many
    assert [item.case_id for item in desk.bulk.outcomes(bulk.id).items] == many
    assert told
    assert desk.get(later).state == "open"
    assert desk.bulk.run(bulk.id, who="ann").counts == done.counts
    assert len(broker.sent) == 5


def test_a_dry_run_changes_nothing_and_tells_each(
    desk: Desk, broker: Broker, many: list[str]
) -> None:
    """What would be refused, and why."""
    bulk = desk.bulk.freeze("discard", many, who="ann", terms=Terms(reason="old"))
    desk.claim(many[1], who="bob", version=1)
    page = desk.bulk.dry_run(bulk.id, limit=3)
    assert [item.fate for item in page.items] == ["waiting", "refused", "waiting"]
    assert "claim by bob" in page.items[1].outcome
    assert page.after == 3
    assert len(desk.bulk.dry_run(bulk.id, after=page.after).items) == 2
    assert {desk.get(one).state for one in many} == {"open"}
    assert desk.bulk.get(bulk.id).counts == {"waiting": 5}


def test_a_case_that_changed_since_is_refused_and_the_rest_goes_on(
    desk: Desk, many: list[str]
) -> None:
    """A person decided otherwise in the meantime."""
    bulk = desk.bulk.freeze("discard", many, who="ann", terms=Terms(reason="old"))
    desk.comment(many[2], "wait for the customer", who="bob", version=1)
    done = desk.bulk.run(bulk.id, who="ann")
    assert done.counts == {"done": 4, "refused": 1}
    (refused,) = desk.bulk.outcomes(bulk.id, fate="refused").items
    assert (refused.case_id, refused.place) == (many[2], 3)
    assert "wait for the customer" in refused.outcome
    assert desk.get(many[2]).state == "open"


def test_who_dies_in_the_middle_is_followed_by_the_next(
    store: Store, broker: Broker, desk: Desk, many: list[str]
) -> None:
    """Each case once: the one that was promised and not published is its relay's."""
    bulk = desk.bulk.freeze("retry", many, who="ann")
    desk.bulk.resume(bulk.id, who="ann")
    steps(desk, bulk, 2)

    def die(_row: object) -> None:
        raise KeyboardInterrupt

    dying = Desk(store, die, lambda _job, _body: None)
    with pytest.raises(KeyboardInterrupt):
        dying.bulk.step(bulk.id)
    assert desk.get(many[2]).state == "releasing"
    done = desk.bulk.run(bulk.id, who="ann")
    assert done.counts == {"under way": 5}
    assert [row.case_id for row in broker.sent] == [many[0], many[1], many[3], many[4]]


async def test_the_rest_waits_for_the_canary(
    backend: SqlBackend, desk: Desk, broker: Broker, many: list[str], outcome: Outcome
) -> None:
    """And goes on once its jobs have succeeded."""
    bulk = desk.bulk.freeze("retry", many, who="ann", terms=Terms(canary=2))
    desk.bulk.resume(bulk.id, who="ann")
    waiting = steps(desk, bulk, 5)
    assert (waiting.state, len(broker.sent)) == ("canary", 2)
    assert "2 of the canary" in waiting.why
    for row in list(broker.sent):
        await backend.record(_end(outcome, row.envelope))
    done = steps(desk, bulk, 4)
    assert (done.state, len(broker.sent)) == ("done", 5)
    assert fates(desk, bulk) == ["succeeded"] * 2 + ["under way"] * 3


async def test_a_canary_that_fails_stops_the_rest(
    store: Store, backend: SqlBackend, desk: Desk, broker: Broker, many: list[str],
    failed: Failed, outcome: Outcome,
) -> None:  # fmt: skip
    """Nothing more is sent until a person lets it go on."""
    bulk = desk.bulk.freeze("retry", many, who="ann", terms=Terms(canary=1))
    desk.bulk.resume(bulk.id, who="ann")
    steps(desk, bulk, 1)
    await _fail_again(store, backend, failed, outcome, broker)
    stopped = steps(desk, bulk, 3)
    assert (stopped.state, stopped.why) == ("stopped", "1 of the canary did not succeed")
    assert fates(desk, bulk) == ["failed"] + ["waiting"] * 4
    with pytest.raises(ActionRefused, match="1 of the canary did not succeed"):
        desk.bulk.run(bulk.id, who="ann")
    assert len(broker.sent) == 1
    desk.bulk.resume(bulk.id, who="ann")
    assert desk.bulk.run(bulk.id, who="ann").counts == {"failed": 1, "under way": 4}


async def test_failures_stop_a_bulk_action(
    store: Store, backend: SqlBackend, desk: Desk, broker: Broker, failed: Failed, outcome: Outcome
) -> None:
    """Counted before each tenth case: no more than that is sent too many."""
    ids = [take_in(store, failed(uuid7(), 1)) for _ in range(25)]
    bulk = desk.bulk.freeze("retry", ids, who="ann", terms=Terms(failures=0))
    desk.bulk.resume(bulk.id, who="ann")
    steps(desk, bulk, 1)
    await _fail_again(store, backend, failed, outcome, broker)
    stopped = steps(desk, bulk, 30)
    assert (stopped.state, stopped.why, len(broker.sent)) == ("stopped", "1 have failed", 10)
    desk.bulk.resume(bulk.id, who="ann")
    assert desk.bulk.run(bulk.id, who="ann").counts == {"failed": 1, "under way": 24}


def test_what_the_broker_refuses_for_good_has_failed(
    desk: Desk, broker: Broker, many: list[str]
) -> None:
    """Its case is open again, and the outcome says why."""
    broker.error = Unroutable("no queue is bound")
    bulk = desk.bulk.freeze("retry", many[:1], who="ann", terms=Terms(queue="nowhere"))
    assert desk.bulk.run(bulk.id, who="ann").counts == {"failed": 1}
    (item,) = desk.bulk.outcomes(bulk.id).items
    assert "no queue is bound" in item.outcome
    assert desk.get(many[0]).state == "open"


def test_a_rate_is_kept_by_all_who_run_it(store: Store, broker: Broker, many: list[str]) -> None:
    """The next case has its time in the store."""
    at = [now()]
    desk = Desk(store, broker, lambda _job, _body: None, lambda: at[0])
    bulk = desk.bulk.freeze("retry", many, who="ann", terms=Terms(rate=0.5))
    desk.bulk.resume(bulk.id, who="ann")
    steps(desk, bulk, 3)
    assert len(broker.sent) == 1
    at[0] += 2.1
    steps(desk, bulk, 3)
    assert len(broker.sent) == 2
    waits: list[float] = []

    def pause(seconds: float) -> None:
        waits.append(seconds)
        at[0] += seconds

    assert desk.bulk.run(bulk.id, who="ann", pause=pause).state == "done"
    assert 5.9 < sum(waits) < 7.1


def test_one_is_stopped_by_hand_and_resumed(desk: Desk, broker: Broker, many: list[str]) -> None:
    """By him who made it."""
    bulk = desk.bulk.freeze("retry", many, who="ann")
    desk.bulk.resume(bulk.id, who="ann")
    steps(desk, bulk, 2)
    assert desk.bulk.stop(bulk.id, "lunch", who="ann").why == "stopped by ann: lunch"
    steps(desk, bulk, 2)
    assert len(broker.sent) == 2
    desk.bulk.resume(bulk.id, who="ann")
    assert desk.bulk.run(bulk.id, who="ann").state == "done"


@pytest.mark.parametrize(
    ("action", "terms"),
    [
        ("discard", Terms()),
        ("reject", Terms(reason=" ")),
        ("snooze", Terms()),
        ("discard", Terms(reason="x", canary=1)),
        ("retry", Terms(rate=-1.0)),
    ],
)
def test_terms_without_sense_are_refused(
    desk: Desk, many: list[str], action: object, terms: Terms
) -> None:
    """Before anything is frozen."""
    with pytest.raises(ActionRefused):
        desk.bulk.freeze(action, many, who="ann", terms=terms)  # type: ignore[arg-type]
    assert desk.bulk.list() == ()


def test_each_action_is_done(desk: Desk, many: list[str]) -> None:
    """As it is on one case."""
    desk.bulk.run(desk.bulk.freeze("tag", many, who="a", terms=Terms(tags=("x",))).id, who="a")
    desk.bulk.run(desk.bulk.freeze("snooze", many, who="a", terms=Terms(seconds=60)).id, who="a")
    assert desk.get(many[0]).tags == ("x",)
    assert len(desk.list(Filters(snoozed=True, tag="x")).cases) == 5
    assert [bulk.action for bulk in desk.bulk.list()] == ["snooze", "tag"]


def test_limits_hold_for_many_as_for_one(
    store: Store, broker: Broker, failed: Failed, many: list[str]
) -> None:
    """What is not a person's is left out; whose bulk action it is not may not turn it."""
    take_in(store, failed(queue="images"))
    people = {
        "eve": Person(name="eve", role="viewer"),
        "bob": Person(name="bob", role="reviewer", queues=("images",)),
        "ann": Person(name="ann", role="reviewer"),
        "top": Person(name="top", role="admin"),
    }
    desk = Desk(store, broker, lambda _j, _b: None, options=DeskOptions(people=people))
    with pytest.raises(NotAllowed):
        desk.bulk.freeze("retry", Filters(), who="eve")
    bulk = desk.bulk.freeze("retry", Filters(), who="bob")
    assert bulk.total == 1
    with pytest.raises(NotAllowed, match="bob, who made"):
        desk.bulk.run(bulk.id, who="ann")
    assert desk.bulk.run(bulk.id, who="top").counts == {"under way": 1}
    assert desk.audit(broker.sent[0].case_id or "")[1].who == "bob"


def test_an_unknown_bulk_action_is_said_to_be_so(desk: Desk) -> None:
    """With where to find them."""
    with pytest.raises(BulkNotFound, match="bulk list"):
        desk.bulk.get("nothing")


def _end(outcome: Outcome, envelope: Envelope, **changes: object) -> Record:
    about = {"case": envelope.case, "release": envelope.release}
    return outcome(envelope.id, envelope.attempt, **about, **changes)


async def _fail_again(
    store: Store, backend: SqlBackend, failed: Failed, outcome: Outcome, broker: Broker
) -> None:
    envelope = broker.sent[-1].envelope
    await backend.record(_end(outcome, envelope, status=Status.IN_REVIEW))
    take_in(
        store,
        failed(envelope.id, envelope.attempt, case=envelope.case, release=envelope.release),
    )
