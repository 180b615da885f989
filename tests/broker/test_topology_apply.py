"""`topology apply` on a real broker: idempotent, never half-done, and honest about the rest."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pika
import pytest

from rabbitjobs.broker.management import management_of
from rabbitjobs.broker.node import Node
from rabbitjobs.broker.url import parse_urls
from rabbitjobs.errors import ConnectionLost, TopologyMismatch, TopologyRefused
from rabbitjobs.topology import names
from rabbitjobs.topology.amqp import connect
from rabbitjobs.topology.apply import apply, plan_changes, verify
from rabbitjobs.topology.model import default_spec
from tests.broker.topology_bench import Bench, bench
from tests.brokers import wanted_version

SHOP = """
version: 1
namespace: shop
retry: {quick: {delays: [200ms, 1s]}}
delays: {longest: 15m}
queues:
  emails: {retry: quick, max_length: 100}
"""


@pytest.fixture
def shop(broker_url: str, management_url: str) -> Iterator[Bench]:
    """An empty vhost."""
    with bench(broker_url, management_url) as found:
        yield found


def test_a_second_apply_changes_nothing(shop: Bench) -> None:
    """The first one makes everything, the second finds it all there."""
    first = shop.apply(SHOP)
    assert {(c.action, c.kind) for c in first.items} == {
        ("create", kind) for kind in ("policy", "exchange", "queue", "binding")
    }
    assert not shop.apply(SHOP)
    verify(shop.plan(SHOP), amqp_url=shop.url, management=shop.management)
    verify(shop.plan(SHOP), amqp_url=shop.url)


def test_plan_shows_what_apply_would_do_and_touches_nothing(shop: Bench) -> None:
    """A dry run on an empty vhost leaves it empty."""
    changes = plan_changes(shop.plan(SHOP), amqp_url=shop.url, management=shop.management)
    assert changes
    assert not shop.management.queues(shop.vhost)
    assert not shop.management.policies(shop.vhost)


def test_a_tunable_changes_in_place(shop: Bench) -> None:
    """Lengths and limits are policies: the queue stays, with its messages."""
    shop.apply(SHOP)
    changes = shop.apply(SHOP.replace("max_length: 100", "max_length: 7"))
    assert [str(change) for change in changes.items] == [
        "change policy shop.q.emails: max-length: 100 -> 7"
    ]
    live = {policy["name"]: policy for policy in shop.management.policies(shop.vhost)}
    assert live["shop.q.emails"]["definition"]["max-length"] == 7


def test_what_cannot_change_in_place_is_refused_before_anything_is_done(shop: Bench) -> None:
    """An argument of a standing queue differs: refused, and the new queue is not made either."""
    shop.apply(SHOP)
    wanted = SHOP.replace("max_length: 100", "ordered: true") + "  fresh: {}\n"
    before = shop.management.policies(shop.vhost)
    with pytest.raises(TopologyRefused) as refused:
        shop.apply(wanted)
    text = str(refused.value)
    assert "replace queue shop.q.emails: x-single-active-consumer: none -> True" in text
    assert "let the queue run empty" in text
    assert shop.management.policies(shop.vhost) == before
    assert "shop.q.fresh" not in {q["name"] for q in shop.management.queues(shop.vhost)}


def test_the_same_refusal_comes_over_amqp_alone(shop: Bench) -> None:
    """Without the management API the broker itself says how a queue differs."""
    shop.apply(SHOP)
    plan = shop.plan(SHOP.replace("max_length: 100", "ordered: true") + "  fresh: {}\n")
    with pytest.raises(TopologyRefused, match="x-single-active-consumer"):
        apply(plan, amqp_url=shop.url, management=None, without_policies=True)
    assert "shop.q.fresh" not in {q["name"] for q in shop.management.queues(shop.vhost)}


def test_without_management_apply_says_what_is_missing(shop: Bench) -> None:
    """Policies cannot be set over AMQP: refused, unless that loss is accepted."""
    plan = shop.plan(SHOP)
    with pytest.raises(TopologyRefused, match=r"delivery-limit, .*max-length"):
        apply(plan, amqp_url=shop.url, management=None)
    assert not shop.management.queues(shop.vhost)
    assert apply(plan, amqp_url=shop.url, management=None, without_policies=True)
    verify(plan, amqp_url=shop.url)
    with pytest.raises(TopologyMismatch, match=r"create policy shop\.q\.emails"):
        verify(plan, amqp_url=shop.url, management=shop.management)
    assert {c.kind for c in shop.apply(SHOP).items} == {"policy"}


def test_a_worker_sees_at_its_start_that_its_queue_is_missing(shop: Bench) -> None:
    """With and without the management API; another queue's absence is not its business."""
    shop.apply(SHOP)
    more = shop.plan(SHOP + "  fresh: {}\n")
    for management in (shop.management, None):
        verify(more, amqp_url=shop.url, management=management, queue="emails")
        with pytest.raises(TopologyMismatch, match=r"create queue shop\.q\.fresh") as mismatch:
            verify(more, amqp_url=shop.url, management=management, queue="fresh")
        assert mismatch.value.queue == "fresh"


def test_a_stranger_s_policy_above_ours_blocks_apply(shop: Bench) -> None:
    """It would hide our limits whole, so nothing is done until it is out of the way."""
    shop.management.set_policy(
        shop.vhost, "all", pattern=".*", definition={"max-length": 3}, priority=10_001
    )
    with pytest.raises(TopologyRefused, match="blocked policy all: it is not ours"):
        shop.apply(SHOP)
    assert not shop.management.queues(shop.vhost)
    shop.management.set_policy(
        shop.vhost, "all", pattern=".*", definition={"max-length": 3}, priority=10
    )
    shop.apply(SHOP)
    assert all(q["policy"] == q["name"] for q in shop.management.queues(shop.vhost))


def test_a_length_limit_moves_the_end_of_the_ladder(shop: Bench) -> None:
    """Limited: by a landing queue. No limit any more: straight, and the landing queue stays."""
    shop.apply(SHOP.replace(", max_length: 100", ""))
    assert "shop.landing.emails" not in {q["name"] for q in shop.management.queues(shop.vhost)}
    changes = shop.apply(SHOP)
    assert [c.name for c in changes.items if c.action == "unbind"] == [
        "shop.deliver -> shop.q.emails (*...*.emails)"
    ]
    assert not shop.apply(SHOP)
    shop.apply(SHOP.replace(", max_length: 100", ""))
    bindings = shop.management.bindings(shop.vhost)
    assert not [b for b in bindings if b["destination"] == "shop.landing.emails" and b["source"]]
    assert "shop.landing.emails" in {q["name"] for q in shop.management.queues(shop.vhost)}


def test_the_end_of_the_ladder_moves_over_amqp_alone_too(shop: Bench) -> None:
    """Bindings cannot be listed there, but they can be made and removed."""
    for config in (SHOP.replace(", max_length: 100", ""), SHOP):
        apply(shop.plan(config), amqp_url=shop.url, management=None, without_policies=True)
    ends = [
        b["destination"]
        for b in shop.management.bindings(shop.vhost)
        if b["routing_key"] == "*." * names.LEVELS + "emails"
    ]
    assert ends == ["shop.landing.emails"]


def test_names_outside_ascii_stand_on_the_broker(shop: Bench) -> None:
    """Korean, dots, spaces and signs of patterns, with a policy that matches each queue."""
    odd = ["주문", "주문.확인", "a b+c(d)|e", "ünï", "x..y", ".z", "$^{2}\\w", "🐇"]
    shop.apply(default_spec("가게", odd))
    assert not shop.apply(default_spec("가게", odd))
    live = {queue["name"]: queue for queue in shop.management.queues(shop.vhost)}
    for queue in odd:
        name = names.work_queue("가게", queue)
        assert live[name]["policy"] == name
    for name, found in live.items():
        assert found["policy"] == name


def test_raw_objects_stand_beside_ours(shop: Bench) -> None:
    """A foreign exchange feeds a work queue, and a raw queue listens to our events."""
    shop.apply(
        SHOP
        + """
raw:
  exchanges: {crm: {type: topic}}
  queues: {shop.x.audit: {type: classic, arguments: {x-max-length: 5}}}
  bindings:
    - {from: crm, to_queue: shop.q.emails, key: "mail.*"}
    - {from: shop.events, to_queue: shop.x.audit, key: "#"}
"""
    )
    shop.channel.basic_publish("crm", "mail.new", b"hi", mandatory=True)
    assert shop.next("shop.q.emails")[0] == b"hi"


def test_a_refusal_half_way_names_the_object(shop: Bench) -> None:
    """What only the broker can know is wrong stops apply at once, before publishers are bound."""
    config = SHOP + "raw: {queues: {odd: {arguments: {x-max-length: -1}}}}\n"
    with pytest.raises(TopologyRefused, match="queue odd: expected RabbitMQ to take it, got 406"):
        shop.apply(config)
    with pytest.raises(pika.exceptions.UnroutableError):
        shop.channel.basic_publish("shop.jobs", "emails", b"", mandatory=True)


def test_a_node_that_has_just_started_is_seen_whole() -> None:
    """It lets clients in before it lists its queues with their totals."""
    with Node(version=wanted_version()) as node, ThreadPoolExecutor() as pool:
        url = node.create_vhost()
        with bench(url, node.management_url) as shop:
            shop.apply(SHOP)
            plan = shop.plan(SHOP)
        node.stop()
        starting = pool.submit(node.start)
        while not lets_in(url):
            assert not starting.done() or lets_in(url), "it has started, and lets nobody in"
        with management_of(parse_urls(url)[0], node.management_url) as management:
            for _ in range(20):
                verify(plan, amqp_url=url, management=management)
        starting.result()


def lets_in(url: str) -> bool:
    """Whether a broker lets a client in right now."""
    try:
        with connect(url):
            return True
    except ConnectionLost:
        return False
