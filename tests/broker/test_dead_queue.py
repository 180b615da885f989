"""A queue whose leader is gone, on a cluster that serves all others: they go on undisturbed."""

from __future__ import annotations

import pika
import pytest

from rabbitjobs.broker.cluster import Cluster
from rabbitjobs.broker.url import parse_urls
from rabbitjobs.wire import apart, browsing, subscription
from rabbitjobs.wire.link import Link
from rabbitjobs.wire.pika import PikaWire
from rabbitjobs.wire.subscription import Subscription
from tests.brokers import wanted_version
from tests.pitfalls.shop import until

PAIR = {"x-queue-type": "quorum", "x-quorum-initial-group-size": 2}


class Reader:
    """Somebody who consumes one queue."""

    def __init__(self, link: Link, queue: str) -> None:
        self.states: list[str] = []
        self.bodies: list[bytes] = []
        self.subscription = Subscription(
            link,
            queue,
            prefetch=5,
            deliver=lambda arrived: self.bodies.extend(one.delivery.body for one in arrived),
            changed=lambda state, _: self.states.append(state),
        )

    @property
    def consuming(self) -> bool:
        """Whether it does now."""
        return self.states[-1:] == ["consuming"]


def publish(url: str, queue: str, body: bytes) -> None:
    """Publish one message for good."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish("", queue, body, pika.BasicProperties(delivery_mode=2))


def declare(cluster: Cluster, url: str) -> None:
    """A queue on two of the three nodes, and one on all of them."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.queue_declare("pair", durable=True, arguments=PAIR)
        channel.queue_declare("work", durable=True, arguments={"x-queue-type": "quorum"})


@pytest.mark.timeout(240)
async def test_one_dead_queue_costs_the_others_their_connection_twice_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No node answers for it, and each ends a connection that waits for that for a minute."""
    monkeypatch.setattr(subscription, "CONSUME_SECONDS", 1.0)
    monkeypatch.setattr(apart, "LONGEST_PAUSE_SECONDS", 1.0)
    monkeypatch.setattr(browsing, "ENTER_SECONDS", 1.0)
    made: list[PikaWire] = []

    def make_wire() -> PikaWire:
        made.append(PikaWire())
        return made[-1]

    with Cluster(version=wanted_version()) as cluster:
        declare(cluster, cluster.nodes[0].create_vhost("v"))
        publish(cluster.nodes[0].vhost_url("v"), "pair", b"kept")
        gone = cluster.leader("v", "pair")
        others = [node.vhost_url("v") for node in cluster.nodes if node is not gone]
        gone.kill()
        link = Link(make_wire, parse_urls(",".join(others)), name="dead queue")
        pair, work = Reader(link, "pair"), Reader(link, "work")
        link.start()
        await until(lambda: len(made) == 3 + 2, 60)
        assert link.generation == 3 and pair.states[-1] == "failed"
        publish(others[0], "work", b"undisturbed")
        await until(lambda: work.bodies == [b"undisturbed"])
        cluster.start()
        # The message may come before the broker's answer to ``basic.consume`` is heard.
        await until(lambda: pair.bodies == [b"kept"] and pair.consuming, 60)
        assert link.generation == 3
        assert (work.states.count("waiting"), work.consuming) == (2, True)
        for reader in (pair, work):
            await reader.subscription.stop()
            await reader.subscription.finish()
        await link.close()
