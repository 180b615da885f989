"""What looking into a queue disturbs, by broker version."""

from __future__ import annotations

import msgspec
import pytest

from rabbitjobs.broker.version import from_version
from rabbitjobs.errors import TopologyError
from rabbitjobs.monitor.facts import BrokerFacts, QueueSeen
from rabbitjobs.monitor.queues import find_queue, peek_disturbs, purge_destroys, rows
from rabbitjobs.topology.model import QueueSpec, TopologySpec, default_spec
from rabbitjobs.topology.plan import Plan, compile_plan

SPEC = default_spec("shop", ("emails", "review"))


def planned(version: str = "4.3.6", spec: TopologySpec = SPEC) -> Plan:
    return compile_plan(spec, from_version(version))


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("emails", "shop.q.emails"),
        ("notify", "shop.notify"),
        ("shop.quarantine", "shop.quarantine"),
        ("review", "shop.q.review"),
        ("shop.review", "shop.review"),
    ],
)
def test_a_queue_is_found_by_its_name_in_the_config_or_in_full(name: str, full: str) -> None:
    """A work queue comes before a queue of ours with the same word."""
    assert find_queue(planned(), name).name == full


def test_a_queue_outside_the_config_is_refused() -> None:
    """Nobody purges another team's queue by a slip."""
    with pytest.raises(TopologyError, match="emails, review"):
        find_queue(planned(), "theirs")


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("4.3.6", "does not count it"),
        ("4.0.5", "counts it: after 20 deliveries"),
        ("3.10.8", "counts it: after 20 deliveries"),
    ],
)
def test_peeking_says_whether_it_counts_as_a_delivery(version: str, said: str) -> None:
    """On older brokers twenty looks send a job to review."""
    plan = planned(version)
    text = " ".join(peek_disturbs(find_queue(plan, "emails"), plan.capabilities, SPEC))
    assert said in text
    assert "redelivered" in text


def test_peeking_an_ordered_queue_warns_of_its_order() -> None:
    """A single active consumer hides the messages, too."""
    queue = QueueSpec(name="emails", ordered=True)
    spec = msgspec.structs.replace(SPEC, queues={"emails": queue})
    plan = planned(spec=spec)
    text = " ".join(peek_disturbs(find_queue(plan, "emails"), plan.capabilities, spec))
    assert "order may change" in text


def test_peeking_a_queue_without_limit_says_so() -> None:
    """The review queue has none."""
    plan = planned("4.0.5")
    text = " ".join(peek_disturbs(find_queue(plan, "shop.review"), plan.capabilities, SPEC))
    assert "no limit" in text


def test_purging_names_what_is_destroyed_unseen() -> None:
    """On 4.3 messages held for dead lettering go as well."""
    for version, held in (("4.3.6", True), ("4.0.5", False)):
        plan = planned(version)
        text = " ".join(purge_destroys(find_queue(plan, "emails"), 1200, plan.capabilities))
        assert "1,200 ready messages" in text
        assert ("held for dead lettering" in text) is held


def test_the_list_shows_waiting_rooms_only_when_something_waits() -> None:
    """Thirty empty ladder levels tell nobody anything."""
    plan = planned()
    seen = {queue.name: QueueSeen() for queue in plan.queues}
    seen["shop.delay.03"] = QueueSeen(ready=7)
    broker = BrokerFacts(
        address="",
        plan=plan,
        queues=seen,
        live_queues={
            "shop.delay.03": {"messages": 10, "messages_ready": 7, "messages_unacknowledged": 1}
        },
    )
    shown = {row["queue"]: row for row in rows(broker)}
    assert [name for name in shown if name.startswith("shop.delay")] == ["shop.delay.03"]
    assert shown["shop.delay.03"]["held"] == 2
    assert shown["shop.q.emails"]["unacked"] is None
    assert len(rows(broker, everything=True)) == len(plan.queues)
