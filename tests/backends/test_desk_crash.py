"""kill -9 of what the desk does in several steps: nothing is lost, and nothing is done twice.

The process that dies is a real one, at a named failpoint; what it leaves is read by another.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from sqlalchemy import text

from rabbitjobs.clock import now, uuid7
from rabbitjobs.errors import CaseChanged
from rabbitjobs.failpoints import EXIT_CODE, VARIABLE
from rabbitjobs.review.bulk_case import Terms
from rabbitjobs.review.desk import Desk
from rabbitjobs.review.intake import FailedMessage, take_in
from rabbitjobs.review.options import DeadlineRule, DeskOptions
from rabbitjobs.store.engine import Store
from rabbitjobs.store.outbox import Outbox
from tests.backends.desk_broker import Broker

Failed = Callable[..., FailedMessage]

PRELUDE = """
import sys
from rabbitjobs.review.desk import Desk
from rabbitjobs.store.engine import Store
url, namespace, target = sys.argv[1:]
store = Store(url, namespace=namespace)
def publish(row):
    print(row.case_id, row.envelope.attempt, flush=True)
desk = Desk(store, publish, lambda job, body: None)
"""
RETRY = "desk.retry(target, who='ann', version=2)"
EDIT = "desk.edit(target, b'{\"args\":[5]}', who='ann', version=2)"
BULK = "desk.bulk.run(target, who='ann')"
DEADLINES = "import time; desk._clock = lambda: float(target); desk.keep_up()"


def killed(store_url: str, store: Store, place: str, act: str, target: str) -> list[str]:
    """Run a desk until it dies at a place; what it had published, as case ids."""
    dead = subprocess.run(
        [sys.executable, "-c", PRELUDE + act, store_url, store.namespace, target],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, VARIABLE: place},
    )
    assert dead.returncode == EXIT_CODE, dead.stderr
    return [line.split()[0] for line in dead.stdout.splitlines()]


def relayed(store: Store) -> list[str]:
    """What the relay finds to publish, published; as case ids."""
    store.run(lambda c: c.execute(text("UPDATE rj_outbox SET leased_until = 0")) and None)
    relay = Outbox(store)
    rows = relay.take()
    relay.published(rows)
    return [str(row.case_id) for row in rows]


@pytest.mark.parametrize("act", [RETRY, EDIT])
@pytest.mark.parametrize(
    ("place", "published"), [("after-release-commit", 0), ("after-release-confirm", 1)]
)
def test_a_claimed_case_is_released_once(
    store_url: str, store: Store, desk: Desk, failed: Failed, place: str, published: int, act: str
) -> None:
    """The relay sends the same attempt; the claim ended with the release, for everybody."""
    case_id = take_in(store, failed(uuid7(), 3))
    desk.claim(case_id, who="ann", version=1)
    assert len(killed(store_url, store, place, act, case_id)) == published
    with pytest.raises(CaseChanged):
        desk.retry(case_id, who="ann", version=2)
    going_on = desk.get(case_id).child_id or case_id
    assert desk.get(going_on).state == "releasing"
    assert relayed(store) == [going_on]
    released = desk.get(going_on)
    assert (released.state, released.release_attempt, released.lease_until) == ("released", 4, None)
    assert desk.verify(going_on) is None
    assert relayed(store) == []


@pytest.mark.parametrize(
    ("place", "published", "done"),
    [("after-release-commit", 0, 1), ("after-release-confirm", 1, 1), ("after-bulk-item", 1, 1)],
)
def test_a_bulk_action_goes_on_behind_what_was_committed(
    store_url: str,
    store: Store,
    desk: Desk,
    broker: Broker,
    failed: Failed,
    place: str,
    published: int,
    done: int,
) -> None:
    """Each of its cases is released once, by the dead runner's relay or by the next runner."""
    ids = [take_in(store, failed(uuid7(), 1)) for _ in range(4)]
    bulk = desk.bulk.freeze("retry", ids, who="ann", terms=Terms())
    assert len(killed(store_url, store, place, BULK, bulk.id)) == published
    left = desk.bulk.get(bulk.id)
    assert (left.state, left.counts) == ("running", {"under way": done, "waiting": 4 - done})
    assert desk.bulk.run(bulk.id, who="ann").counts == {"under way": 4}
    assert [row.case_id for row in broker.sent] == ids[done:]
    assert relayed(store) == ([] if place == "after-bulk-item" else ids[:1])
    assert [desk.get(one).release_attempt for one in ids] == [2] * 4
    assert {desk.get(one).state for one in ids} == {"released"}


@pytest.mark.parametrize("place", ["after-release-commit", "after-deadline"])
def test_deadlines_are_kept_once(
    store_url: str, store: Store, broker: Broker, failed: Failed, place: str
) -> None:
    """What the dead process had done is done; the next one keeps the rest."""
    from datetime import timedelta

    rule = DeadlineRule(after=timedelta(hours=1), do="retry")
    options = DeskOptions(deadlines={"emails": rule})
    ids = [take_in(store, failed(uuid7(), 1), options) for _ in range(3)]
    late = now() + 4000
    killed(store_url, store, place, DEADLINES.replace("target", str(late)), "")
    desk = Desk(store, broker, lambda _job, _body: None, lambda: late)
    assert desk.keep_up().deadlines == 2
    assert sorted({str(row.case_id) for row in broker.sent}) == ids[1:]
    assert relayed(store) == ([] if place == "after-deadline" else ids[:1])
    assert {desk.get(one).release_attempt for one in ids} == {2}
    assert {desk.get(one).state for one in ids} == {"released"}
