"""Drift and permissions on a real broker: strangers' policies, leftovers, least rights."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote
from uuid import uuid4

import pika
import pytest

from rabbitjobs.broker.management import Management
from rabbitjobs.errors import TopologyMismatch, TopologyRefused
from rabbitjobs.secret import Secret
from rabbitjobs.topology.apply import apply, verify
from rabbitjobs.topology.config import loads
from rabbitjobs.topology.drift import Finding, find_drift
from rabbitjobs.topology.granting import grant
from rabbitjobs.topology.live import read_live
from tests.broker.topology_bench import Bench, bench

SHOP = """
version: 1
namespace: shop
retry: {quick: {delays: [200ms, 1s]}}
delays: {longest: 15m}
queues: {emails: {retry: quick}}
"""


@pytest.fixture
def shop(broker_url: str, management_url: str) -> Iterator[Bench]:
    """A vhost with the topology above."""
    with bench(broker_url, management_url) as found:
        found.apply(SHOP)
        yield found


def _drift(shop: Bench, config: str = SHOP) -> list[Finding]:
    return list(find_drift(shop.plan(config), read_live(shop.management, shop.vhost, totals=True)))


def test_a_stranger_s_policy_of_higher_priority_is_found(shop: Bench) -> None:
    """It hides ours whole: workers refuse to start, and apply refuses as well."""
    assert _drift(shop) == []
    shop.management.set_policy(
        shop.vhost, "theirs", pattern="emails", definition={"max-length": 1}, priority=20_000
    )
    found = {finding.name: finding.detail for finding in _drift(shop)}
    assert "the policy in effect is theirs" in found["queue shop.q.emails"]
    assert "hides our policy" in found["policy theirs"]
    with pytest.raises(TopologyMismatch, match="blocked policy theirs"):
        verify(shop.plan(SHOP), amqp_url=shop.url, management=shop.management, queue="emails")
    with pytest.raises(TopologyRefused):
        shop.apply(SHOP)
    shop.management.delete_policy(shop.vhost, "theirs")
    assert _drift(shop) == []


def test_an_operator_s_policy_that_cuts_into_ours_is_found(shop: Bench) -> None:
    """On every version, also where the queue itself does not tell."""
    path = f"operator-policies/{quote(shop.vhost, safe='')}/caps"
    caps = {"pattern": r"shop\.q\.", "definition": {"max-length": 3}, "apply-to": "queues"}
    shop.management._request("PUT", path, caps)
    (finding,) = _drift(shop)
    assert finding.name == "queue shop.q.emails"
    assert "operator policy caps" in finding.detail
    assert "max-length: 3 -> none" in finding.detail


def test_a_changed_or_deleted_policy_of_ours_is_mended(shop: Bench) -> None:
    """Somebody edited it by hand."""
    shop.management.set_policy(
        shop.vhost, "shop.q.emails", pattern=".*", definition={"max-length": 1}, priority=1
    )
    shop.management.delete_policy(shop.vhost, "shop.review")
    assert {finding.kind for finding in _drift(shop)} == {"differs"}
    assert {change.action for change in shop.apply(SHOP).items} == {"change", "create"}
    assert _drift(shop) == []


def test_retry_queues_that_the_config_dropped_stay_and_are_shown(shop: Bench) -> None:
    """What waits in them still arrives; deleting is a person's decision."""
    fewer = SHOP.replace("200ms, 1s", "1s")
    assert not shop.apply(fewer)
    left = [(finding.kind, finding.name) for finding in _drift(shop, fewer)]
    assert left == [("left over", "queue shop.retry.emails.200ms")]
    shop.channel.basic_publish("shop.delay", "retry.200ms.emails", b"old", mandatory=True)
    assert shop.next("shop.q.emails")[0] == b"old"


def test_a_stray_binding_is_found(shop: Bench) -> None:
    """A tap on the jobs exchange would confirm jobs that no work queue takes."""
    shop.channel.queue_declare("spy", durable=True, arguments={"x-queue-type": "quorum"})
    shop.channel.queue_bind("spy", "shop.jobs", "mistyped")
    (finding,) = _drift(shop)
    assert finding.name == "binding shop.jobs -> queue spy (mistyped)"


def test_roles_are_granted_and_refused_elsewhere(shop: Bench) -> None:
    """Each role writes and reads where it must, and is refused one step beyond."""
    spec = loads(SHOP, "topology.yaml", env={})
    users = {name: f"{name}-{uuid4().hex}" for name in ("publisher", "worker", "reviewer")}
    with pytest.raises(TopologyRefused, match="expected users that exist"):
        grant(shop.management, shop.vhost, spec, {user: [name] for name, user in users.items()})
    for user in users.values():
        shop.management.put_user(user, password=Secret("secret"))
    try:
        grant(shop.management, shop.vhost, spec, {user: [name] for name, user in users.items()})
        _try_roles(shop, users)
    finally:
        for user in users.values():
            shop.management.delete_user(user)


def test_the_topology_role_applies_and_reaches_no_other_namespace(shop: Bench) -> None:
    """With the policymaker tag beside its three patterns; its password stays."""
    spec = loads(SHOP, "topology.yaml", env={})
    user = f"topology-{uuid4().hex}"
    shop.management.put_user(user, password=Secret("secret"), tags=("monitoring",))
    try:
        grant(shop.management, shop.vhost, spec, {user: ["topology"]})
        url = shop.url.replace(shop.url.split("//")[1].split("@")[0], f"{user}:secret")
        with Management(shop.management.url, user=user, password=Secret("secret")) as management:
            assert management.whoami() == {"monitoring", "policymaker"}
            more = SHOP.replace("{retry: quick}", "{retry: quick, max_length: 5}")
            assert apply(shop.plan(more), amqp_url=url, management=management)
            assert not apply(shop.plan(more), amqp_url=url, management=management)
            other = shop.plan(SHOP.replace("namespace: shop", "namespace: other"))
            with pytest.raises(TopologyRefused, match="403"):
                apply(other, amqp_url=url, management=management)
    finally:
        shop.management.delete_user(user)


def _try_roles(shop: Bench, users: dict[str, str]) -> None:
    publisher, worker, reviewer = (_as(shop, users[name]) for name in users)
    try:
        assert _may_publish(publisher, "shop.jobs", "emails")
        assert _may_publish(publisher, "shop.delay", "retry.1s.emails")
        assert not _may_publish(publisher, "shop.fail", "review")
        assert not _may_publish(publisher, "", "shop.review")
        assert not _may_read(publisher, "shop.q.emails")
        assert _may_publish(worker, "shop.fail", "review")
        assert _may_read(worker, "shop.q.emails")
        assert not _may_read(worker, "shop.review")
        assert not _may_publish(worker, "", "shop.q.emails")
        assert _may_publish(reviewer, "shop.jobs", "emails")
        assert _may_read(reviewer, "shop.review")
        assert not _may_read(reviewer, "shop.q.emails")
        url = shop.url.replace(shop.url.split("//")[1].split("@")[0], f"{users['worker']}:secret")
        verify(shop.plan(SHOP), amqp_url=url, queue="emails")
    finally:
        for connection in (publisher, worker, reviewer):
            connection.close()


def _as(shop: Bench, user: str) -> pika.BlockingConnection:
    parameters = pika.URLParameters(shop.url)
    parameters.credentials = pika.PlainCredentials(user, "secret")
    return pika.BlockingConnection(parameters)


def _may_publish(connection: pika.BlockingConnection, exchange: str, key: str) -> bool:
    channel = connection.channel()
    channel.confirm_delivery()
    try:
        channel.basic_publish(exchange, key, b"", mandatory=True)
    except pika.exceptions.ChannelClosedByBroker as error:
        assert error.reply_code == 403
        return False
    channel.close()
    return True


def _may_read(connection: pika.BlockingConnection, queue: str) -> bool:
    channel = connection.channel()
    try:
        channel.basic_get(queue)
    except pika.exceptions.ChannelClosedByBroker as error:
        assert error.reply_code == 403
        return False
    channel.close()
    return True
