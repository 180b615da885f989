"""Each role is refused everything but its work: every exchange and queue is tried."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker, UnroutableError

from rabbitjobs.broker.node import Node
from rabbitjobs.errors import SendRefused, TopologyRefused
from rabbitjobs.message.properties import Properties
from rabbitjobs.topology.apply import apply
from rabbitjobs.topology.granting import grant
from rabbitjobs.topology.names import ladder_key
from rabbitjobs.wire.protocol import Outgoing
from tests.security.role_shop import PASSWORD, RoleShop, role_shop

Ask: TypeAlias = Callable[[BlockingChannel], Any]
WORK = {f"shop.q.{name}" for name in ("emails", "urgent", "orders", "small")}
FAILED = {"shop.review", "shop.review.orders", "shop.notify", "shop.quarantine"}
ENDINGS = {"shop.jobs", "shop.delay", "shop.fail", "shop.events"}
OUTSIDE = {"other.jobs", "amq.direct", "amq.topic"}


@dataclass(frozen=True)
class Rights:
    """What a role may do; queues that it may read it may purge as well."""

    write: frozenset[str] = frozenset()
    read: frozenset[str] = frozenset()
    own: frozenset[str] = frozenset()


ALLOWED = {
    "publisher": Rights(write=frozenset({"shop.jobs", "shop.delay"})),
    "worker": Rights(
        write=frozenset(ENDINGS),
        read=frozenset(WORK),
        own=frozenset({"shop.control.x", "shop.reply.x"}),
    ),
    "operator": Rights(write=frozenset({"shop.control"}), own=frozenset({"shop.reply.x"})),
    "reviewer": Rights(write=frozenset(ENDINGS), read=frozenset({*FAILED, "shop.undeliverable"})),
}


@pytest.fixture
def shop(node: Node, tmp_path: Path) -> Iterator[RoleShop]:
    """A shop of this test's own."""
    with role_shop(node, tmp_path) as found:
        yield found


@pytest.fixture(scope="module")
def empty(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RoleShop]:
    """A shop in which nothing is ever left, beside somebody else's namespace on the same vhost."""
    with role_shop(node, tmp_path_factory.mktemp("empty")) as found:
        with pika.BlockingConnection(pika.URLParameters(node.vhost_url(found.vhost))) as admin:
            channel = admin.channel()
            channel.exchange_declare("other.jobs", durable=True)
            channel.queue_declare("other.q.x", durable=True)
            channel.queue_bind("other.q.x", "other.jobs", "x")
        yield found


class Visitor:
    """A role's user with a client of its own, who tries what our code would never do."""

    def __init__(self, shop: RoleShop, role: str) -> None:
        self._connection = pika.BlockingConnection(pika.URLParameters(shop.url(role)))

    def close(self) -> None:
        """Go."""
        self._connection.close()

    def code(self, ask: Ask) -> int:
        """How the broker answers: 0 if it does what was asked, else its code."""
        channel = self._connection.channel()
        channel.confirm_delivery()
        try:
            ask(channel)
        except ChannelClosedByBroker as error:
            return int(error.reply_code)
        except UnroutableError:
            return 0
        channel.close()
        return 0


@pytest.fixture(params=sorted(ALLOWED))
def role(request: pytest.FixtureRequest) -> str:
    """Each role but topology, which may do everything in its namespace."""
    found: str = request.param
    return found


@pytest.fixture
def visitor(empty: RoleShop, role: str) -> Iterator[Visitor]:
    """The role's user."""
    found = Visitor(empty, role)
    yield found
    found.close()


def publish(exchange: str, key: str = "nowhere", **properties: Any) -> Ask:
    """A mandatory message, by default to nowhere."""
    given = pika.BasicProperties(**properties)
    return lambda channel: channel.basic_publish(exchange, key, b"", given, mandatory=True)


def everything(shop: RoleShop) -> tuple[set[str], set[str]]:
    """Every exchange and every queue of the vhost."""
    exchanges = {one["name"] for one in shop.management.exchanges(shop.vhost)}
    queues = {one["name"] for one in shop.management.queues(shop.vhost)}
    assert exchanges >= ENDINGS | OUTSIDE | {
        "",
        "shop.deliver",
        "shop.undeliverable",
        "shop.control",
    }
    assert queues >= WORK | FAILED | {"shop.retry.emails.200ms", "shop.delay.00", "other.q.x"}
    return exchanges, queues


def test_it_publishes_to_its_exchanges_only(empty: RoleShop, role: str, visitor: Visitor) -> None:
    """Neither to the default exchange, nor to another namespace, nor past a review."""
    exchanges, _ = everything(empty)
    codes = {name: visitor.code(publish(name)) for name in exchanges}
    assert {name for name, code in codes.items() if not code} == ALLOWED[role].write
    assert set(codes.values()) == {0, 403}
    for queue in ("shop.review", "shop.q.emails", "amq.rabbitmq.reply-to"):
        assert visitor.code(publish("", queue)) == 403


def test_it_reads_and_purges_its_queues_only(empty: RoleShop, role: str, visitor: Visitor) -> None:
    """RabbitMQ does not tell reading from purging."""
    _, queues = everything(empty)

    ways: list[Callable[[str], Ask]] = [
        _get,
        lambda name: lambda channel: channel.basic_consume(name, _drop),
        lambda name: lambda channel: channel.queue_purge(name),
    ]
    for way in ways:
        codes = {name: visitor.code(way(name)) for name in queues}
        assert {name for name, code in codes.items() if not code} == ALLOWED[role].read
        assert set(codes.values()) <= {0, 403}


def test_it_neither_declares_nor_binds_nor_deletes(
    empty: RoleShop, role: str, visitor: Visitor
) -> None:
    """But for a worker's own queues of control and replies."""
    exchanges, queues = everything(empty)
    new = {"shop.q.new", "shop.review.new", "shop.control.x", "shop.reply.x", "other.q.new", "new"}
    codes = {name: visitor.code(_declare_queue(name)) for name in new}
    assert {name for name, code in codes.items() if not code} == ALLOWED[role].own
    asks: list[Ask] = [
        *(_delete_queue(name) for name in queues),
        *(_delete_exchange(name) for name in exchanges if name.startswith(("shop.", "other."))),
        lambda channel: channel.exchange_declare("shop.new"),
        lambda channel: channel.exchange_declare("other.new"),
        lambda channel: channel.queue_bind("shop.review", "shop.jobs", "emails"),
        lambda channel: channel.queue_bind("shop.q.emails", "shop.fail", "review"),
        lambda channel: channel.queue_unbind("shop.q.emails", "shop.jobs", "emails"),
        lambda channel: channel.exchange_bind("shop.fail", "shop.jobs", "emails"),
    ]
    assert {visitor.code(ask) for ask in asks} == {403}
    now_exchanges, now_queues = everything(empty)
    assert (now_exchanges, now_queues - ALLOWED[role].own) == (exchanges, queues)


def _drop(*_: object) -> None:
    """Nothing waits there."""


def _get(name: str) -> Ask:
    return lambda channel: channel.basic_get(name)


def _declare_queue(name: str) -> Ask:
    return lambda channel: channel.queue_declare(name, exclusive=True)


def _delete_queue(name: str) -> Ask:
    return lambda channel: channel.queue_delete(name)


def _delete_exchange(name: str) -> Ask:
    return lambda channel: channel.exchange_delete(name)


def test_a_publisher_reaches_no_review_by_a_cc_header(shop: RoleShop) -> None:
    """Neither at once nor after a delay, nor when the message is dead-lettered."""
    failed = {"review": 0, "review.orders": 0, "notify": 0, "quarantine": 0, "ignored": 0}
    keys = [*failed, *(f"shop.{name}" for name in failed)]
    cc = {"CC": keys, "BCC": keys}
    visitor = Visitor(shop, "publisher")
    assert visitor.code(publish("shop.jobs", "emails", headers=cc)) == 0
    assert visitor.code(publish("shop.delay", ladder_key("emails", 1), headers=cc)) == 0
    assert visitor.code(publish("shop.delay", "retry.200ms.emails", headers=cc)) == 0
    visitor.close()
    with pika.BlockingConnection(pika.URLParameters(shop.url("worker"))) as worker:
        channel = worker.channel()
        arrived = channel.consume("shop.q.emails", inactivity_timeout=20)
        tags = [next(arrived)[0] for _ in range(3)]
        assert {name: shop.total(name) for name in failed} == failed
        for method in tags:
            assert method is not None
            channel.basic_reject(method.delivery_tag, requeue=False)
        # Rejected for good they are cases, as a crash's are: by the queue's own key, once each.
        while shop.total("review") < 3:
            worker.process_data_events(0.05)
        channel.cancel()
    assert {name: shop.total(name) for name in failed} == {**failed, "review": 3}


def test_a_spoofed_user_id_is_an_error(empty: RoleShop) -> None:
    """406; its own name is taken."""
    visitor = Visitor(empty, "publisher")
    assert visitor.code(publish("shop.jobs", user_id=empty.users["worker"])) == 406
    assert visitor.code(publish("shop.jobs", user_id="rabbitjobs")) == 406
    assert visitor.code(publish("shop.jobs", user_id=empty.users["publisher"])) == 0
    visitor.close()


async def test_a_refusal_is_shown_as_an_error_that_names_the_exchange(shop: RoleShop) -> None:
    """By the publisher too, which goes on publishing."""
    app = shop.app("publisher")
    strange = Outgoing("shop.fail", "review", Properties(type="x", message_id="m"), b"")
    with pytest.raises(SendRefused, match=r"shop\.fail") as refused:
        await app.publisher.confirmed(strange)
    assert PASSWORD not in str(refused.value)
    await app.remote("echo", queue="emails").asend(1)
    assert (shop.total("review"), shop.total("q.emails")) == (0, 1)


def test_the_topology_user_stays_in_its_namespace(empty: RoleShop) -> None:
    """It reaches neither another one nor the default exchange; only policies are the vhost's."""
    visitor = Visitor(empty, "topology")
    asks: list[Ask] = [
        *(publish(name) for name in (*OUTSIDE, "")),
        lambda channel: channel.basic_get("other.q.x"),
        lambda channel: channel.queue_purge("other.q.x"),
        _delete_queue("other.q.x"),
        _delete_exchange("other.jobs"),
        lambda channel: channel.queue_declare("other.q.new"),
        lambda channel: channel.queue_declare("shopping.q.new"),
        lambda channel: channel.exchange_declare("other.new"),
        lambda channel: channel.queue_bind("shop.q.emails", "other.jobs", "x"),
        lambda channel: channel.queue_bind("other.q.x", "shop.jobs", "x"),
        lambda channel: channel.exchange_bind("other.jobs", "shop.jobs", "x"),
    ]
    assert {visitor.code(ask) for ask in asks} == {403}
    visitor.close()


@pytest.mark.parametrize("role", ["publisher", "worker", "reviewer"])
def test_no_other_role_applies(empty: RoleShop, role: str) -> None:
    """Neither with the management API nor without, and a refusal leaves no connection open."""
    app = empty.app(role)
    ran = empty.command(role, "topology", "apply")
    assert ran.exit_code != 0
    del ran
    gc.collect()  # an open socket is an error of this test, and of none that comes later
    plan = app.parts.plan()
    with pytest.raises(TopologyRefused, match="topology user"):
        apply(plan, amqp_url=empty.url(role), management=None, without_policies=True)


def test_a_user_of_two_roles_has_the_rights_of_both(shop: RoleShop) -> None:
    """As `rabbitjobs run` on one account needs; granting one role takes the other away."""
    user = shop.users["worker"]
    spec = shop.app("topology").spec
    both = ALLOWED["worker"].read | ALLOWED["reviewer"].read
    for roles, readable in (
        (["worker", "reviewer"], both),
        (["worker"], ALLOWED["worker"].read),
    ):
        grant(shop.management, shop.vhost, spec, {user: roles}, replace=True)
        visitor = Visitor(shop, "worker")
        queues = {one["name"] for one in shop.management.queues(shop.vhost)}
        codes = {name: visitor.code(_get(name)) for name in queues}
        assert {name for name, code in codes.items() if not code} == readable
        visitor.close()
