"""Holding cases: leases, heartbeats, stealing with a reason, and who is refused meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest

from rabbitjobs.clock import now
from rabbitjobs.errors import ActionRefused, CaseChanged
from rabbitjobs.review.case import Case, Filters
from rabbitjobs.review.desk import Desk
from rabbitjobs.review.options import DeskOptions
from rabbitjobs.store.engine import Store
from tests.backends.desk_broker import Broker

LEASE = 600.0


class Watch:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.at = now()

    def __call__(self) -> float:
        """The time on it."""
        return self.at


@pytest.fixture
def watch() -> Watch:
    """The desk's clock."""
    return Watch()


@pytest.fixture
def desk(store: Store, broker: Broker, watch: Watch) -> Desk:
    """A desk with a clock of its own and leases of ten minutes."""
    options = DeskOptions(lease=timedelta(seconds=LEASE))
    return Desk(store, broker, lambda _job, _body: None, watch, options=options)


def test_a_claimed_case_is_nobody_elses(desk: Desk, broker: Broker, case: Case) -> None:
    """Every action of others is refused and says who holds it; his own goes on."""
    held = desk.claim(case.id, who="ann", version=1)
    assert (held.owner, held.version) == ("ann", 2)
    others: tuple[Callable[[], object], ...] = (
        lambda: desk.retry(case.id, who="bob", version=2),
        lambda: desk.edit(case.id, b'{"args":["x"]}', who="bob", version=2),
        lambda: desk.discard(case.id, "no", who="bob", version=2),
        lambda: desk.resolve(case.id, 1, who="bob", version=2),
        lambda: desk.snooze(case.id, timedelta(hours=1), who="bob", version=2),
        lambda: desk.claim(case.id, who="bob", version=2),
        lambda: desk.escalate(case.id, "loud", who="bob", version=2),
    )
    for act in others:
        with pytest.raises(ActionRefused, match="claimed by ann"):
            act()
    assert desk.get(case.id) == held
    released = desk.retry(case.id, who="ann", version=2)
    assert (released.state, released.lease_until) == ("released", None)
    assert len(broker.sent) == 1


def test_a_lease_ends_by_itself(desk: Desk, watch: Watch, case: Case) -> None:
    """Who went home holds nothing for ever."""
    desk.claim(case.id, who="ann", version=1)
    watch.at += LEASE + 1
    assert desk.get(case.id).held_by(watch.at) is None
    assert desk.claim(case.id, who="bob", version=2).owner == "bob"


def test_a_heartbeat_prolongs_a_lease_and_changes_nothing_else(
    desk: Desk, watch: Watch, case: Case
) -> None:
    """No version and no audit row: a page that stays open would fill both."""
    desk.claim(case.id, who="ann", version=1)
    watch.at += LEASE - 1
    beaten = desk.heartbeat(case.id, who="ann")
    assert (beaten.version, len(desk.audit(case.id))) == (2, 2)
    watch.at += LEASE - 1
    assert desk.get(case.id).held_by(watch.at) == "ann"


def test_who_was_robbed_hears_by_whom_and_why(desk: Desk, case: Case) -> None:
    """At his next heartbeat and at his next write; nothing of his is written."""
    desk.claim(case.id, who="ann", version=1)
    with pytest.raises(ActionRefused, match="reason"):
        desk.steal(case.id, " ", who="bob", version=2)
    stolen = desk.steal(case.id, "ann is ill", who="bob", version=2)
    with pytest.raises(ActionRefused, match=r"steal by bob \(from ann: ann is ill\)"):
        desk.heartbeat(case.id, who="ann")
    with pytest.raises(CaseChanged, match=r"steal by bob \(from ann: ann is ill\)"):
        desk.retry(case.id, who="ann", version=2)
    assert desk.get(case.id) == stolen


def test_only_what_somebody_else_holds_is_stolen(desk: Desk, case: Case) -> None:
    """Else it is claimed."""
    with pytest.raises(ActionRefused, match="free"):
        desk.steal(case.id, "mine", who="bob", version=1)
    desk.claim(case.id, who="bob", version=1)
    with pytest.raises(ActionRefused, match="yours"):
        desk.steal(case.id, "mine", who="bob", version=2)


def test_a_claim_is_given_back(desk: Desk, case: Case) -> None:
    """By him who has it."""
    desk.claim(case.id, who="ann", version=1)
    with pytest.raises(ActionRefused, match="held by ann"):
        desk.let_go(case.id, who="bob", version=2)
    assert desk.let_go(case.id, who="ann", version=2).owner is None
    assert desk.claim(case.id, who="bob", version=3).owner == "bob"
    with pytest.raises(ActionRefused, match="claim by bob"):
        desk.heartbeat(case.id, who="ann")


def test_an_ended_case_is_not_claimed(desk: Desk, case: Case) -> None:
    """There is nothing to do any more."""
    desk.discard(case.id, "no", who="ann", version=1)
    with pytest.raises(ActionRefused, match="discarded"):
        desk.claim(case.id, who="ann", version=2)


def test_others_may_comment_on_a_claimed_case(desk: Desk, case: Case) -> None:
    """They tell its holder something; he sees it by the version."""
    desk.claim(case.id, who="ann", version=1)
    desk.comment(case.id, "the customer called", who="bob", version=2)
    with pytest.raises(CaseChanged, match="the customer called"):
        desk.retry(case.id, who="ann", version=2)
    assert desk.heartbeat(case.id, who="ann").version == 3


def test_of_many_who_claim_at_once_one_has_it(store_url: str, store: Store, case: Case) -> None:
    """Each in a process of its own as far as the store can tell."""
    outcomes: list[str] = []
    start = threading.Barrier(4)

    def act(number: int) -> None:
        own = Store(store_url, namespace=store.namespace)
        desk = Desk(own, Broker(), lambda _job, _body: None)
        desk.get(case.id)
        start.wait(60)
        try:
            outcomes.append(str(desk.claim(case.id, who=f"r{number}", version=1).owner)[:1])
        except CaseChanged:
            outcomes.append("changed")
        own.close()

    threads = [threading.Thread(target=act, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(outcomes) == ["changed", "changed", "changed", "r"]


def test_claimed_and_owned_cases_are_found(desk: Desk, watch: Watch, case: Case) -> None:
    """A list of mine, and one of what is free."""
    desk.claim(case.id, who="ann", version=1)
    assert len(desk.list(Filters(owner="ann", claimed=True)).cases) == 1
    assert desk.list(Filters(claimed=False)).cases == ()
    watch.at += LEASE + 1
    assert len(desk.list(Filters(claimed=False)).cases) == 1


def test_a_snoozed_case_sleeps_until_its_time(desk: Desk, watch: Watch, case: Case) -> None:
    """It leaves the list of what is to do and comes back by itself; acting on it is allowed."""
    asleep = desk.snooze(case.id, timedelta(hours=2), who="ann", version=1, reason="they call back")
    assert asleep.asleep(watch.at)
    assert "they call back" in desk.audit(case.id)[-1].detail
    assert desk.list(Filters(state="open", snoozed=False)).cases == ()
    assert len(desk.list(Filters(snoozed=True)).cases) == 1
    watch.at += 2 * 3600 + 1
    assert len(desk.list(Filters(state="open", snoozed=False)).cases) == 1
    with pytest.raises(ActionRefused, match="awake"):
        desk.wake(case.id, who="ann", version=2)
    again = desk.snooze(case.id, timedelta(hours=2), who="ann", version=2)
    assert not desk.wake(case.id, who="ann", version=again.version).asleep(watch.at)


@pytest.mark.parametrize("wait", [timedelta(0), timedelta(days=-1), timedelta(days=400)])
def test_a_snooze_has_a_length(desk: Desk, case: Case, wait: timedelta) -> None:
    """Neither none nor for ever."""
    with pytest.raises(ActionRefused, match="snooze"):
        desk.snooze(case.id, wait, who="ann", version=1)
