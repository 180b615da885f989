"""What goes away under a worker: it says that it is unhealthy, waits, and recovers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import pytest

from rabbitjobs.backend.protocol import Status
from rabbitjobs.broker.management import Management, management_of
from rabbitjobs.broker.node import Node
from rabbitjobs.broker.url import parse_urls
from rabbitjobs.clock import uuid7
from rabbitjobs.secret import Secret
from tests.broker.crew import ECHO, PATIENCE, Crew, crew, until
from tests.brokers import wanted_version

SHOP, TOPOLOGY = ECHO, "version: 1\nnamespace: shop\nqueues: {work: {}}\n"


@pytest.fixture
def management(shop: Crew) -> Iterator[Management]:
    """The node's management API."""
    with management_of(parse_urls(shop.url)[0], shop.node.management_url) as found:
        yield found


def delete(shop: Crew, path: str) -> None:
    """Delete something by the management API."""
    url = urlsplit(shop.node.management_url)
    where = f"http://{url.hostname}:{url.port}/api/{path}"
    who = (url.username or "", url.password or "")
    httpx.delete(where, auth=who, timeout=PATIENCE).raise_for_status()


def test_a_deleted_queue_is_not_recreated_and_found_again(
    shop: Crew, management: Management
) -> None:
    """Unhealthy until somebody applies the topology."""
    echo = shop.app.remote("echo", queue="work")
    worker = shop.consume("work")
    worker.says("healthy: consuming")
    assert echo.send(1).result(PATIENCE) == 1
    delete(shop, f"queues/{quote(shop.vhost, safe='')}/shop.q.work")
    worker.says("unhealthy: failed", 2)
    assert management.queue(shop.vhost, "shop.q.work") is None
    shop.app.apply()
    assert echo.send(2).result(PATIENCE) == 2
    worker.says("healthy: consuming", 2)


def test_a_revoked_permission_is_waited_out_without_a_hot_loop(
    shop: Crew, management: Management
) -> None:
    """Rights count for new channels: the connection is cut, and the next one is refused."""
    user = f"u{uuid7()}"
    management.put_user(user, password=Secret("secret"), tags=("management",))
    management.set_permissions(shop.vhost, user, configure=".*", write=".*", read=".*")
    address = parse_urls(shop.url)[0]
    url = f"amqp://{user}:secret@{address.host}:{address.port}/{quote(shop.vhost, safe='')}"
    worker = shop.consume("work", url=url)
    worker.says("healthy: consuming")
    management.set_permissions(shop.vhost, user, configure="", write=".*", read="^nothing$")

    def is_cut() -> bool:
        delete(shop, f"connections/username/{user}")  # those that the broker has listed by now
        return "unhealthy" in worker.log

    until(is_cut, why=lambda: worker.log)
    worker.says("ACCESS_REFUSED", 2)
    before = worker.log.count("unhealthy")
    time.sleep(2)
    assert worker.log.count("unhealthy") - before <= 8
    management.set_permissions(shop.vhost, user, configure=".*", write=".*", read=".*")
    job_id = shop.app.remote("echo", queue="work").send(1).id
    shop.until_status(Status.SUCCEEDED, job_id)
    management.delete_user(user)


def test_a_worker_with_a_wrong_password_says_so(shop: Crew) -> None:
    """And goes on trying: the password may be set later."""
    address = parse_urls(shop.url)[0]
    where = f"{address.host}:{address.port}"
    worker = shop.consume("work", url=f"amqp://{address.user}:hunter2@{where}/{address.vhost}")
    worker.says(f"to let user '{address.user}' into vhost '{address.vhost}'")
    worker.says("ACCESS_REFUSED")
    assert "hunter2" not in worker.log
    assert worker.process.poll() is None


def test_a_broker_that_is_away_at_the_start_is_waited_for(tmp_path: Path) -> None:
    """The process says so, and begins when it can."""
    with Node(version=wanted_version()) as node, crew(node, tmp_path, SHOP, TOPOLOGY) as shop:
        job_id = shop.app.remote("echo", queue="work").send(1).id
        node.stop()
        worker = shop.consume("work")
        worker.says("unhealthy")
        node.start()
        shop.until_status(Status.SUCCEEDED, job_id)
        worker.says("healthy: consuming")


def test_a_killed_connection_costs_nothing(shop: Crew) -> None:
    """Everything goes on over the next one."""
    echo = shop.app.remote("echo", queue="work")
    worker = shop.consume("work")
    worker.says("healthy: consuming")
    for number in range(3):
        until(lambda: cut(shop))
        assert echo.send(number).result(PATIENCE) == number
    assert worker.process.poll() is None


def cut(shop: Crew) -> bool:
    """Cut every connection of the vhost by the server itself."""
    closed = shop.node.eval(
        '[rabbit_networking:close_connection(P, "test") || P <- rabbit_networking:connections(),'
        f" [{{vhost, V}}] <- [rabbit_networking:connection_info(P, [vhost])],"
        f' V =:= <<"{shop.vhost}">>].'
    )
    return closed != "[]"
