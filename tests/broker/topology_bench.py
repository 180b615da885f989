"""What the topology's tests share: a vhost with an applied topology, and plain AMQP beside it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pika
from pika.adapters.blocking_connection import BlockingChannel

from rabbitjobs.broker.management import Management, management_of
from rabbitjobs.broker.url import parse_urls
from rabbitjobs.broker.version import Capabilities
from rabbitjobs.topology.amqp import connect
from rabbitjobs.topology.apply import apply
from rabbitjobs.topology.config import loads
from rabbitjobs.topology.diff import Changes
from rabbitjobs.topology.model import TopologySpec
from rabbitjobs.topology.plan import Plan, compile_plan
from rabbitjobs.topology.routes import Route


class Bench:
    """One fresh vhost, its management API and a confirming channel."""

    def __init__(self, url: str, management: Management, channel: BlockingChannel) -> None:
        self.url = url
        self.vhost = parse_urls(url)[0].vhost
        self.management = management
        self.channel = channel

    @property
    def capabilities(self) -> Capabilities:
        """What the broker under test can do."""
        with connect(self.url) as amqp:
            return amqp.capabilities

    def plan(self, config: str | TopologySpec) -> Plan:
        """Compile a config for the broker under test."""
        spec = (
            config if isinstance(config, TopologySpec) else loads(config, "topology.yaml", env={})
        )
        return compile_plan(spec, self.capabilities)

    def apply(self, config: str | TopologySpec) -> Changes:
        """Apply a config through AMQP and management."""
        return apply(self.plan(config), amqp_url=self.url, management=self.management)

    def publish(self, route: Route, body: bytes, *, priority: int | None = None) -> float:
        """Publish persistent, mandatory, confirmed; returns when it was sent."""
        sent = time.monotonic()
        properties = pika.BasicProperties(delivery_mode=2, priority=priority)
        self.channel.basic_publish(
            route.exchange, route.routing_key, body, properties, mandatory=True
        )
        return sent

    def next(self, queue: str, *, within: float = 30.0) -> tuple[bytes, pika.BasicProperties]:
        """Wait for one message on a queue and take it."""
        self.channel.basic_qos(prefetch_count=1)
        method, properties, body = next(self.channel.consume(queue, inactivity_timeout=within))
        assert method is not None, f"nothing on {queue} within {within} s"
        self.channel.basic_ack(method.delivery_tag)
        self.channel.cancel()
        return body, properties

    def empty(self, queue: str) -> bool:
        """Whether nothing is ready on a queue."""
        return int(self.channel.queue_declare(queue, passive=True).method.message_count) == 0

    def fill(self, route: Route) -> int:
        """Publish until the broker refuses; returns how many were confirmed."""
        for confirmed in range(10_000):
            try:
                self.publish(route, b"x")
            except pika.exceptions.NackError:
                return confirmed
        raise AssertionError("never full")


@contextmanager
def bench(url: str, management_url: str) -> Iterator[Bench]:
    """Connect to one vhost; closes what it opened."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.confirm_delivery()
    with management_of(parse_urls(url)[0], management_url) as management:
        try:
            yield Bench(url, management, channel)
        finally:
            connection.close()
