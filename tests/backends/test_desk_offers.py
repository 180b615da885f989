"""What a person is offered is what the desk would do for him, no more and no less."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from rabbitjobs.clock import now
from rabbitjobs.errors import DeskError
from rabbitjobs.policy.decision import Failure
from rabbitjobs.review.case import Case
from rabbitjobs.review.desk import Desk
from rabbitjobs.review.intake import FailedMessage, take_in
from rabbitjobs.review.options import DeskOptions, Person
from rabbitjobs.store.engine import Store
from tests.backends.desk_broker import Broker

OPTIONS = DeskOptions(
    people={
        "top": Person(name="top", role="admin"),
        "ann": Person(name="ann", role="reviewer"),
        "bob": Person(name="bob", role="reviewer"),
        "cat": Person(name="cat", role="reviewer", queues=("images",)),
        "vic": Person(name="vic", role="viewer"),
    }
)
HOUR = timedelta(hours=1)
TRIES: dict[str, Callable[[Desk, Case, str], Any]] = {
    "claim": lambda d, c, who: d.claim(c.id, who=who, version=c.version),
    "heartbeat": lambda d, c, who: d.heartbeat(c.id, who=who),
    "let_go": lambda d, c, who: d.let_go(c.id, who=who, version=c.version),
    "steal": lambda d, c, who: d.steal(c.id, "x", who=who, version=c.version),
    "retry": lambda d, c, who: d.retry(c.id, who=who, version=c.version),
    "approve": lambda d, c, who: d.approve(c.id, who=who, version=c.version),
    "reject": lambda d, c, who: d.reject(c.id, "x", who=who, version=c.version),
    "edit": lambda d, c, who: d.edit(c.id, b'{"args":["x"]}', who=who, version=c.version),
    "discard": lambda d, c, who: d.discard(c.id, "x", who=who, version=c.version),
    "resolve": lambda d, c, who: d.resolve(c.id, 1, who=who, version=c.version),
    "reopen": lambda d, c, who: d.reopen(c.id, "x", who=who, version=c.version),
    "comment": lambda d, c, who: d.comment(c.id, "x", who=who, version=c.version),
    "tag": lambda d, c, who: d.tag(c.id, ("x",), who=who, version=c.version),
    "snooze": lambda d, c, who: d.snooze(c.id, HOUR, who=who, version=c.version),
    "wake": lambda d, c, who: d.wake(c.id, who=who, version=c.version),
    "escalate": lambda d, c, who: d.escalate(c.id, "x", who=who, version=c.version),
}
BEFORE: dict[str, Callable[[Desk, Case], Any]] = {
    "open": lambda _d, _c: None,
    "held": lambda d, c: d.claim(c.id, who="ann", version=1),
    "asleep": lambda d, c: d.snooze(c.id, HOUR, who="ann", version=1),
    "released": lambda d, c: d.retry(c.id, who="ann", version=1),
    "discarded": lambda d, c: d.discard(c.id, "x", who="ann", version=1),
    "gate": lambda _d, _c: None,
}


@pytest.mark.parametrize("who", ["top", "ann", "bob", "cat", "vic", "eve"])
@pytest.mark.parametrize("state", list(BEFORE))
def test_what_is_offered_is_what_is_done(
    store: Store, broker: Broker, failed: Callable[..., FailedMessage], state: str, who: str
) -> None:
    """For everybody, in every state: each action is tried on a case of its own."""
    desk = Desk(store, broker, lambda _job, _body: None, now, options=OPTIONS)
    gate = Failure(kind="approval", error_type="approval", error="")
    more = {"failure": gate} if state == "gate" else {}
    done = []
    for name, act in TRIES.items():
        case = desk.get(take_in(store, failed(**more)))
        BEFORE[state](desk, case)
        case = desk.get(case.id)
        offered = name in desk.offers(case, who=who)
        try:
            act(desk, case, who)
        except DeskError:
            assert not offered, name
        else:
            done.append(name)
            assert offered, name
    assert done or who in ("cat", "vic", "eve")
