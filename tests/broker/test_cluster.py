"""Three private nodes as one cluster: a leader dies, a node is parted, all of them die."""

from __future__ import annotations

import pika
import pytest

from rabbitjobs.broker.cluster import Cluster
from tests.brokers import wanted_version


@pytest.mark.timeout(240)
def test_a_cluster_outlives_its_leader_a_parting_and_the_death_of_all() -> None:
    """What was confirmed is there each time, asked at another node than before."""
    with Cluster(version=wanted_version()) as cluster:
        url = cluster.nodes[0].create_vhost("v")
        with pika.BlockingConnection(pika.URLParameters(url)) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            channel.queue_declare("q", durable=True, arguments={"x-queue-type": "quorum"})
            channel.basic_publish("", "q", b"kept", pika.BasicProperties(delivery_mode=2))
        first = cluster.leader("v", "q")
        other = next(node for node in cluster.nodes if node is not first)
        first.kill()
        assert other.messages_total("v", "q") == 1
        assert cluster.start().leader("v", "q") is not first
        cluster.cut_off(first)
        assert first.ask("nodes().") == "[]"
        assert other.messages_total("v", "q") == 1
        cluster.rejoin(first)
        cluster.kill()
        assert not any(node.running for node in cluster.nodes)
        assert cluster.start().nodes[2].messages_total("v", "q") == 1
    assert not cluster.folder.exists()
