"""A plan holds the exact arguments and policies that the guarantees rest on, by version."""

from __future__ import annotations

import re

import pytest

from rabbitjobs.broker.version import from_version
from rabbitjobs.errors import TopologyRefused
from rabbitjobs.topology import names
from rabbitjobs.topology.config import loads
from rabbitjobs.topology.model import TopologySpec
from rabbitjobs.topology.objects import Policy, Queue
from rabbitjobs.topology.plan import Plan, compile_plan
from rabbitjobs.topology.policies import exact_pattern

VERSIONS = ("3.10.8", "4.0.5", "4.3.6")
QUORUM = {"x-queue-type": "quorum", "x-overflow": "reject-publish"}
SAFE = {**QUORUM, "x-dead-letter-strategy": "at-least-once"}


def _spec(queues: str) -> TopologySpec:
    text = f"version: 1\nnamespace: shop\nretry: {{default: {{delays: [5s]}}}}\nqueues:\n{queues}"
    return loads(text, "topology.yaml", env={})


def _plan(queues: str, version: str) -> Plan:
    return compile_plan(_spec(queues), from_version(version))


def _queue(plan: Plan, name: str) -> Queue:
    return next(queue for queue in plan.queues if queue.name == name)


def _policy(plan: Plan, name: str) -> Policy:
    return next(policy for policy in plan.policies if policy.name == name)


@pytest.mark.parametrize("version", VERSIONS)
def test_work_queues_dead_letter_at_least_once_to_review(version: str) -> None:
    """All four safety keys as arguments, and once more in the policy, with the limits."""
    plan = _plan("  emails: {max_length: 9, message_ttl: 1h, delivery_limit: 7}", version)
    assert _queue(plan, "shop.q.emails").arguments == {
        **SAFE,
        "x-dead-letter-exchange": "shop.fail",
        "x-dead-letter-routing-key": "review",
    }
    assert _policy(plan, "shop.q.emails").definition == {
        "overflow": "reject-publish",
        "dead-letter-strategy": "at-least-once",
        "dead-letter-exchange": "shop.fail",
        "dead-letter-routing-key": "review",
        "delivery-limit": 7,
        "max-length": 9,
        "message-ttl": 3_600_000,
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_retry_and_ladder_queues_have_one_fixed_lifetime_and_no_length_limit(version: str) -> None:
    """Their dead letters go to deliver by the work key, or one level down by the same key."""
    plan = _plan("  emails: {}", version)
    assert _queue(plan, "shop.retry.emails.5s").arguments == {
        **SAFE,
        "x-message-ttl": 5000,
        "x-dead-letter-exchange": "shop.deliver",
        "x-dead-letter-routing-key": "emails",
    }
    for level in range(names.LEVELS):
        assert _queue(plan, names.delay_level("shop", level)).arguments == {
            **SAFE,
            "x-message-ttl": 1000 * 2**level,
            "x-dead-letter-exchange": f"shop.delay.{level - 1:02}" if level else "shop.deliver",
        }
    for queue in plan.queues:
        if queue.role in ("retry", "delay", "landing"):
            assert "max-length" not in _policy(plan, queue.name).definition


@pytest.mark.parametrize("version", VERSIONS)
def test_what_waits_for_people_has_no_limits(version: str) -> None:
    """Where the broker's default would destroy it after 20 crashes, the policy says unlimited."""
    plan = _plan("  emails: {review: own}", version)
    for name in ("review", "review.emails", "notify", "quarantine", "undeliverable"):
        assert _queue(plan, f"shop.{name}").arguments == QUORUM
        limit = _policy(plan, f"shop.{name}").definition.get("delivery-limit")
        assert limit == (None if version.startswith("3") else -1)
    ignored = _policy(plan, "shop.ignored").definition
    assert (ignored["overflow"], ignored["max-length"]) == ("drop-head", 100_000)
    assert _queue(plan, "shop.q.emails").arguments["x-dead-letter-routing-key"] == "review.emails"


def test_unlimited_is_never_asked_of_3_10() -> None:
    """There -1 destroys a message on its first requeue."""
    plan = _plan("  emails: {}", "3.10.8")
    assert all(policy.definition.get("delivery-limit") != -1 for policy in plan.policies)


@pytest.mark.parametrize("version", VERSIONS)
def test_each_queue_of_ours_has_exactly_one_policy(version: str) -> None:
    """Applied to queues of any kind: 3.10 knows no narrower word."""
    plan = _plan("  emails: {}\n  주문.확인: {max_length: 3}", version)
    assert [policy.name for policy in plan.policies] == [queue.name for queue in plan.queues]
    for policy in plan.policies:
        matched = [q.name for q in plan.queues if re.search(policy.pattern, q.name)]
        assert matched == [policy.name]
        assert policy.apply_to == "queues"


def test_no_exchange_that_publishers_write_to_has_an_alternate() -> None:
    """There it would confirm what has no queue; behind dead letters it catches the homeless."""
    plan = _plan("  emails: {}", "4.3.6")
    with_alternate = {e.name for e in plan.exchanges if "alternate-exchange" in e.arguments}
    assert with_alternate == {"shop.deliver"}
    inner = {e.name for e in plan.exchanges if e.internal}
    levels = {f"shop.delay.{level:02}" for level in range(names.LEVELS - 1)}
    assert inner == {"shop.deliver", "shop.undeliverable", *levels}


def test_publishers_are_bound_last() -> None:
    """What stops half-way lets no job in."""
    plan = _plan("  emails: {}\n  other: {}", "4.3.6")
    assert [binding.source for binding in plan.bindings[-2:]] == ["shop.jobs", "shop.jobs"]


def test_a_limited_queue_has_a_landing_queue_at_the_end_of_the_ladder() -> None:
    """And the other way is the one that must not be bound."""
    for queues, end, other in (
        ("  emails: {max_length: 5}", "shop.landing.emails", "shop.q.emails"),
        ("  emails: {}", "shop.q.emails", "shop.landing.emails"),
    ):
        plan = _plan(queues, "4.3.6")
        key = "*." * names.LEVELS + "emails"
        assert [b.destination for b in plan.bindings if b.routing_key == key] == [end]
        assert [b.destination for b in plan.unbound] == [other]


@pytest.mark.parametrize(
    ("queues", "version", "loss"),
    [
        ("  q: {priorities: [a, b]}", "3.10.8", "classic-queue"),
        ("  q: {priorities: [a, b, c]}", "4.0.5", "two-priorities"),
        ("  q: {consumer_timeout: 1h}", "3.10.8", "consumer-timeout"),
        ("  q: {time_limit: 30m}", "3.10.8", "consumer-timeout"),
    ],
)
def test_what_a_version_cannot_give_is_refused_unless_accepted(
    queues: str, version: str, loss: str
) -> None:
    """The text names queue, line, version and the word to write."""
    with pytest.raises(TopologyRefused, match=rf"(?s)topology.yaml:5.*'q'.*accept: \[{loss}\]"):
        _plan(queues, version)
    assert _plan(queues.replace("}", f", accept: [{loss}]}}"), version)
    assert _plan(queues, "4.3.6")


def test_all_refusals_come_at_once() -> None:
    """One line for each queue and loss."""
    with pytest.raises(TopologyRefused) as error:
        _plan(
            "  a: {priorities: [x, y], consumer_timeout: 1h}\n  b: {priorities: [x, y]}", "3.10.8"
        )
    assert len(str(error.value).splitlines()) == 3


def test_priorities_on_3_10_take_a_classic_queue() -> None:
    """Without what classic queues do not know; its retry queues stay quorum queues."""
    plan = _plan("  q: {priorities: [low, normal, high], accept: classic-queue}", "3.10.8")
    assert _queue(plan, "shop.q.q").arguments == {
        "x-queue-type": "classic",
        "x-max-priority": 5,
        "x-overflow": "reject-publish",
        "x-dead-letter-exchange": "shop.fail",
        "x-dead-letter-routing-key": "review",
    }
    assert "delivery-limit" not in _policy(plan, "shop.q.q").definition
    assert _queue(plan, "shop.retry.q.5s").arguments["x-queue-type"] == "quorum"
    newer = _plan("  q: {priorities: [low, normal, high]}", "4.3.6")
    assert "x-max-priority" not in _queue(newer, "shop.q.q").arguments


def test_a_consumer_timeout_is_a_policy_where_the_version_knows_one() -> None:
    """On 3.10 it is the node's."""
    queues = "  q: {consumer_timeout: 2h, accept: consumer-timeout}"
    assert _policy(_plan(queues, "4.0.5"), "shop.q.q").definition["consumer-timeout"] == 7_200_000
    assert "consumer-timeout" not in _policy(_plan(queues, "3.10.8"), "shop.q.q").definition


def test_the_consumer_timeout_follows_from_the_time_limit() -> None:
    """A minute more, for the ending; on 3.10 a limit that every node serves needs nothing."""
    for version in ("4.0.5", "4.3.6"):
        definition = _policy(_plan("  q: {time_limit: 2h}", version), "shop.q.q").definition
        assert definition["consumer-timeout"] == (2 * 60 + 1) * 60_000
    both = "  q: {time_limit: 2h, consumer_timeout: 3h}"
    definition = _policy(_plan(both, "4.3.6"), "shop.q.q").definition
    assert definition["consumer-timeout"] == 3 * 3_600_000
    small = _policy(_plan("  q: {time_limit: 29m}", "3.10.8"), "shop.q.q").definition
    assert "consumer-timeout" not in small


def test_a_time_limit_that_a_3_10_cannot_serve_is_refused_with_what_to_set() -> None:
    """The node's own configuration is the only place there."""
    with pytest.raises(TopologyRefused, match=r"consumer_timeout in its rabbitmq\.conf"):
        _plan("  q: {time_limit: 2h}", "3.10.8")


def test_ordered_queues_have_a_single_active_consumer() -> None:
    """As an argument: a policy cannot set it."""
    plan = _plan("  q: {ordered: true}", "4.3.6")
    assert _queue(plan, "shop.q.q").arguments["x-single-active-consumer"] is True
    assert plan.spec.queues["q"].concurrency == 1


def test_patterns_match_their_queue_only() -> None:
    """Signs of patterns are escaped; letters beyond ASCII stand as they are."""
    for name in ("shop.q.a", "a+b(c)|d", "주문.확인", "x y", "^$[]{}\\"):
        assert re.search(exact_pattern(name), name)
        assert not re.search(exact_pattern(name), name + "x")
    assert not re.search(exact_pattern("shop.q.a"), "shopxq.a")
