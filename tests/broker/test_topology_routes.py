"""Where messages really go: every route of the topology, run on a real broker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta

import pika
import pytest

from rabbitjobs.topology import names, routes
from rabbitjobs.topology.config import loads
from rabbitjobs.topology.model import default_spec
from tests.broker.topology_bench import Bench, bench

CONFIG = """
version: 1
namespace: shop
retry: {quick: {delays: [200ms]}}
delays: {longest: 15m}
queues:
  emails: {retry: quick, delivery_limit: 2}
  "주문.확인": {retry: quick}
  확인: {retry: quick}
  limited: {retry: quick, max_length: 2}
  brief: {retry: quick, message_ttl: 500ms, review: own}
"""


@pytest.fixture
def shop(broker_url: str, management_url: str) -> Iterator[Bench]:
    """A vhost with the topology above."""
    with bench(broker_url, management_url) as found:
        found.apply(CONFIG)
        yield found


SPEC = loads(CONFIG, "topology.yaml", env={})


def test_a_delay_arrives_on_time_at_its_queue_and_nowhere_else(shop: Bench) -> None:
    """A step of a retry policy is exact; other delays take the ladder, rounded up to seconds."""
    due: dict[bytes, float] = {}
    for queue in SPEC.queues:
        for delay, wanted in ((200, 0.2), (700, 1), (3000, 3)):
            body = f"{queue} {delay}".encode()
            route = routes.delayed(SPEC, queue, timedelta(milliseconds=delay))
            due[body] = shop.publish(route, body) + wanted
    for delay in (200, 700, 3000):
        for queue in SPEC.queues:
            body, properties = shop.next(names.work_queue("shop", queue))
            assert body == f"{queue} {delay}".encode()
            assert -0.01 <= time.monotonic() - due[body] < 0.5
            assert properties.expiration is None
            # Where it waited says more than a clock on a busy machine: a step has one queue.
            waited = [death["queue"] for death in properties.headers["x-death"]]
            step = names.retry_queue("shop", queue, timedelta(milliseconds=200))
            assert (waited == [step]) is (delay == 200), waited
    for queue in SPEC.queues:
        assert shop.empty(names.work_queue("shop", queue))
    assert shop.empty(names.undeliverable_queue("shop"))


def test_a_job_goes_to_its_work_queue(shop: Bench) -> None:
    """Keys are the queues' names in the config, dots included."""
    for queue in SPEC.queues:
        shop.publish(routes.work(SPEC, queue), queue.encode())
        assert shop.next(names.work_queue("shop", queue))[0] == queue.encode()


def test_a_mistyped_key_comes_back_to_the_publisher(shop: Bench) -> None:
    """No alternate exchange stands where publishers write, so nothing vanishes confirmed."""
    for exchange, key in (
        ("shop.jobs", "email"),
        ("shop.delay", "retry.200ms.email"),
        ("shop.delay", "emails"),
        ("shop.fail", "revue"),
    ):
        with pytest.raises(pika.exceptions.UnroutableError):
            shop.publish(routes.Route(exchange, key), b"")


def test_clients_cannot_write_to_the_inner_exchanges(shop: Bench) -> None:
    """The deliver exchange has an alternate, and so it is internal."""
    for exchange in ("shop.deliver", "shop.delay.05", "shop.undeliverable"):
        with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="internal"):
            shop.publish(routes.Route(exchange, "emails"), b"")
        shop.channel = shop.channel.connection.channel()
        shop.channel.confirm_delivery()


def test_a_delayed_job_whose_queue_is_gone_is_kept(shop: Bench) -> None:
    """By retry queue and by ladder: it lands in undeliverable instead of nowhere."""
    shop.publish(routes.delayed(SPEC, "emails", timedelta(seconds=3)), b"ladder")
    shop.channel.queue_delete("shop.q.emails")
    # Behind the deletion: a step of 200 ms may be over before it.
    shop.publish(routes.delayed(SPEC, "emails", timedelta(milliseconds=200)), b"step")
    found = {shop.next("shop.undeliverable")[0] for _ in range(2)}
    assert found == {b"step", b"ladder"}


@pytest.mark.parametrize(
    ("kind", "queue"),
    [
        ("review", "shop.review"),
        ("notify", "shop.notify"),
        ("ignored", "shop.ignored"),
        ("quarantine", "shop.quarantine"),
    ],
)
def test_failures_go_to_the_queue_of_their_kind(
    shop: Bench, kind: routes.FailKind, queue: str
) -> None:
    """The shared queues, for a known work queue, an unknown one and none."""
    for work in ("emails", "gone", None):
        shop.publish(routes.failed(SPEC, kind, work), b"x")
        assert shop.next(queue)[0] == b"x"


def test_a_queue_s_own_review_queue_takes_its_failures_and_expired_jobs(shop: Bench) -> None:
    """Ours by route, and the broker's own by dead letter."""
    shop.publish(routes.failed(SPEC, "review", "brief"), b"failed")
    assert shop.next("shop.review.brief")[0] == b"failed"
    shop.publish(routes.work(SPEC, "brief"), b"late")
    body, properties = shop.next("shop.review.brief")
    assert body == b"late"
    assert properties.headers["x-first-death-reason"] == "expired"


def test_a_job_that_kills_its_worker_again_and_again_goes_to_review(shop: Bench) -> None:
    """A delivery limit of 2 means three deliveries."""
    shop.publish(routes.work(SPEC, "emails"), b"poison")
    deliveries = 0
    while shop.empty("shop.review"):
        connection = pika.BlockingConnection(pika.URLParameters(shop.url))
        taken = connection.channel().consume("shop.q.emails", inactivity_timeout=2)
        deliveries += next(taken)[0] is not None
        connection.close()
        assert deliveries <= 3
    assert deliveries == 3
    body, properties = shop.next("shop.review")
    assert body == b"poison"
    assert properties.headers["x-first-death-reason"] == "delivery_limit"


def test_a_full_queue_refuses_and_keeps_what_it_confirmed(shop: Bench) -> None:
    """Limits are soft, but a refused job is always a nack to its publisher."""
    confirmed = shop.fill(routes.work(SPEC, "limited"))
    for _ in range(confirmed):
        shop.next("shop.q.limited")
    assert shop.empty("shop.q.limited")


def test_a_full_queue_does_not_hold_up_the_delays_of_others(shop: Bench) -> None:
    """The ladder is shared: a limited queue's delayed jobs wait in its own landing queue."""
    shop.fill(routes.work(SPEC, "limited"))
    for _ in range(40):
        shop.publish(routes.delayed(SPEC, "limited", timedelta(seconds=1)), b"waits")
    sent = shop.publish(routes.delayed(SPEC, "emails", timedelta(seconds=1)), b"free")
    assert shop.next("shop.q.emails")[0] == b"free"
    assert time.monotonic() - sent < 2


def test_what_waits_for_a_person_survives_many_crashes_of_its_reader(shop: Bench) -> None:
    """The default limit of 20 deliveries would destroy a case that has no dead letter exchange."""
    shop.publish(routes.failed(SPEC, "review", "emails"), b"case")
    for _ in range(25):
        method, _, _ = next(shop.channel.consume("shop.review", inactivity_timeout=30))
        assert method is not None
        shop.channel.basic_reject(method.delivery_tag, requeue=True)
        shop.channel.cancel()
    assert shop.next("shop.review")[0] == b"case"


def test_every_bit_of_the_ladder_leads_down(shop: Bench) -> None:
    """A delay with many bits passes every level in turn; 1.5 s of waiting suffice to see three.

    The upper ones are made here: until then the broker returns what is to wait that long.
    """
    longer = loads(CONFIG.replace("15m", "3106d21h24m15s"), "topology.yaml", env={})
    far = routes.delayed(longer, "emails", timedelta(seconds=2**28 - 1))
    with pytest.raises(pika.exceptions.UnroutableError):
        shop.publish(far, b"lost")
    shop.publish(routes.delayed(SPEC, "emails", timedelta(seconds=513)), b"before")
    shop.apply(longer)
    found = shop.channel.basic_get("shop.delay.09", auto_ack=True)
    assert found[2] == b"before"
    shop.publish(far, b"far")
    method, _, body = shop.channel.basic_get("shop.delay.27", auto_ack=True)
    assert (method is not None, body) == (True, b"far")
    for level in range(names.LEVELS):
        shop.publish(routes.delayed(longer, "emails", timedelta(seconds=2**level)), b"x")
        if level > 3:
            found = shop.channel.basic_get(names.delay_level("shop", level), auto_ack=True)
            assert found[2] == b"x"


def test_priorities_are_kept_by_the_broker(broker_url: str, management_url: str) -> None:
    """High before normal before low where the version tells three apart, high first on any."""
    config = """
version: 1
namespace: shop
queues:
  emails: {priorities: [low, normal, high], accept: [classic-queue, two-priorities]}
"""
    spec = loads(config, "topology.yaml", env={})
    with bench(broker_url, management_url) as shop:
        shop.apply(config)
        for name in ("low", None, "high"):
            number = routes.priority_number(spec, "emails", name)
            shop.publish(routes.work(spec, "emails"), str(name).encode(), priority=number)
        order = [shop.next("shop.q.emails")[0] for _ in range(3)]
        assert order[0] == b"high"
        if shop.capabilities.generation != "4.0":
            assert order == [b"high", b"None", b"low"]


def test_ordered_queues_have_one_consumer_at_a_time(broker_url: str, management_url: str) -> None:
    """Single active consumer: the second one gets nothing while the first lives."""
    config = "version: 1\nnamespace: shop\nqueues: {steps: {ordered: true}}\n"
    with bench(broker_url, management_url) as shop:
        shop.apply(config)
        first, second = shop.channel.connection.channel(), shop.channel.connection.channel()
        held = first.consume("shop.q.steps", inactivity_timeout=30)
        spec = loads(config, "topology.yaml", env={})
        shop.publish(routes.work(spec, "steps"), b"1")
        assert next(held)[2] == b"1"
        shop.publish(routes.work(spec, "steps"), b"2")
        assert next(second.consume("shop.q.steps", inactivity_timeout=0.5))[0] is None


def test_the_hello_world_topology_works_without_a_file(
    broker_url: str, management_url: str
) -> None:
    """``RabbitJobs()`` needs nothing but a broker."""
    spec = default_spec()
    with bench(broker_url, management_url) as found:
        found.apply(spec)
        found.publish(routes.work(spec, "default"), b"hello")
        assert found.next("rabbitjobs.q.default")[0] == b"hello"
