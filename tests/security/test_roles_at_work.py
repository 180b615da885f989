"""Each role does its whole work with nothing but its own rights, on every version."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from rabbitjobs import Context, Ignore, RabbitJobs, Retry, Review, Status
from rabbitjobs.app.desk_roles import IntakeRole, NotifyRole
from rabbitjobs.app.roles import ConsumeRole, Role, worker_name
from rabbitjobs.broker.node import Node
from rabbitjobs.broker.url import parse_urls
from rabbitjobs.job.handle import JobHandle
from rabbitjobs.message.properties import Properties
from rabbitjobs.monitor.tail import Batch, Broadcaster, Watcher
from rabbitjobs.publisher.putting_back import put_back
from rabbitjobs.publisher.relay import Relay
from rabbitjobs.store.outbox import Outbox
from rabbitjobs.wire.pika import PikaWire
from rabbitjobs.wire.protocol import Outgoing
from tests.security.role_shop import PATIENCE, ROLES, RoleShop, role_shop


@pytest.fixture
def shop(node: Node, tmp_path: Path) -> Iterator[RoleShop]:
    """Applied by the topology user, policies included."""
    with role_shop(node, tmp_path) as found:
        yield found


def with_jobs(app: RabbitJobs) -> RabbitJobs:
    """The worker's code."""

    @app.job("echo", queue="emails")
    async def echo(value: int) -> int:
        return value

    @app.job("urgent", queue="urgent")
    async def urgent(value: int) -> int:
        return value

    @app.job("fails", queue="emails")
    async def fails(ctx: Context, how: str) -> int:
        if how == "retry" and ctx.attempt == 1:
            raise ValueError("once")
        if how == "later" and ctx.attempt == 1:
            raise Retry("later", delay=timedelta(seconds=1))
        if how == "ignore":
            raise Ignore("known")
        if how == "tell":
            raise IndexError("told, then reviewed")
        if how == "review":
            raise Review("look at it")
        return ctx.attempt

    @app.job("order", queue="orders")
    async def order(ctx: Context) -> int:
        if ctx.attempt == 1:
            raise Review("look at it")
        return ctx.attempt

    return app


@asynccontextmanager
async def working(*roles: Role) -> AsyncIterator[None]:
    """Roles at work in this process."""
    for role in roles:
        await role.start()
    yield
    await asyncio.gather(*(role.drain(5.0, asyncio.Event()) for role in roles))


def consuming(shop: RoleShop) -> list[Role]:
    """Every queue, as the worker."""
    app = with_jobs(shop.app("worker"))
    return [ConsumeRole(app, queue) for queue in app.spec.queues]


def test_the_topology_user_changes_a_topology_and_sees_no_drift(shop: RoleShop) -> None:
    """Queues, bindings and policies; nothing is left to do afterwards."""
    path = shop.config("topology") / "topology.yaml"
    path.write_text(path.read_text().replace("10}", "20}") + "  more: {retry: quick}\n")
    ran = shop.command("topology", "topology", "apply")
    assert ran.exit_code == 0 and "more" in ran.output, ran.output
    for command in (["topology", "plan"], ["topology", "drift"]):
        ran = shop.command("topology", *command)
        assert ran.exit_code == 0, ran.output
    (policy,) = [
        one for one in shop.management.policies(shop.vhost) if one["name"] == "shop.q.small"
    ]
    assert policy["definition"]["max-length"] == 20


async def test_a_publisher_sends_in_every_way_and_waits_for_results(shop: RoleShop) -> None:
    """At once, delayed by a retry step and by the ladder, many, urgent."""
    app = shop.app("publisher")
    echo, urgent = app.remote("echo", queue="emails"), app.remote("urgent", queue="urgent")
    async with working(*consuming(shop)):
        handles = [
            await echo.asend(1),
            await echo.options(delay=timedelta(milliseconds=200)).asend(2),
            await echo.options(delay=timedelta(seconds=1)).asend(3),
            await urgent.options(priority="high").asend(4),
        ]
        sent = await app.asend_many(echo.call(number) for number in range(5, 105))
        assert all(one.ok for one in sent)
        handles += [one.handle for one in sent]
        assert [await handle.aresult(PATIENCE) for handle in handles] == list(range(1, 105))


async def test_a_publisher_relays_its_outbox(shop: RoleShop) -> None:
    """What a transaction promised, with the publisher's rights alone."""
    app = shop.app("publisher")
    store = app.parts.store
    assert store is not None
    echo = app.remote("echo", queue="emails")

    def promise(transaction: Connection) -> list[JobHandle[Any]]:
        return [
            echo.options(tx=transaction).send(1),
            echo.options(tx=transaction, delay=timedelta(seconds=1)).send(2),
        ]

    handles = await asyncio.to_thread(store.run, promise)
    trouble: list[str] = []
    relay = Relay(
        Outbox(store),
        spec=lambda: app.spec,
        publish=app.publisher.confirmed,
        trouble=trouble.append,
    )
    running = asyncio.create_task(relay.run())
    async with working(*consuming(shop)):
        assert [await handle.aresult(PATIENCE) for handle in handles] == [1, 2]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert not any(trouble)


async def test_a_worker_brings_every_job_to_its_ending(shop: RoleShop) -> None:
    """Retried by policy and by the ladder, ignored, told, reviewed, quarantined; nothing left."""
    sender = shop.app("publisher")
    fails = sender.remote("fails", queue="emails")
    shop.app("worker").parts.verify("emails")
    async with working(*consuming(shop)):
        retried = [await fails.asend("retry"), await fails.asend("later")]
        ended = {how: await fails.asend(how) for how in ("ignore", "tell", "review")}
        order = await sender.remote("order", queue="orders").asend()
        await sender.publisher.confirmed(
            Outgoing("shop.jobs", "emails", Properties(message_id="m"), b"?")
        )
        assert [await handle.aresult(PATIENCE) for handle in retried] == [2, 2]
        wanted = {"ignore": Status.IGNORED, "tell": Status.IN_REVIEW, "review": Status.IN_REVIEW}
        for how, status in wanted.items():
            await shop.until(lambda how=how, status=status: ended[how].status() is status)  # type: ignore[misc]
        await shop.until(lambda: order.status() is Status.IN_REVIEW)
        await shop.until(lambda: shop.total("quarantine") == 1)
    left = {
        name: shop.total(name)
        for name in ("q.emails", "q.orders", "review", "review.orders", "notify", "ignored")
    }
    assert left == {
        "q.emails": 0, "q.orders": 0, "review": 2, "review.orders": 1, "notify": 1, "ignored": 1,
    }  # fmt: skip


async def test_a_worker_broadcasts_its_events_and_may_watch_them(shop: RoleShop) -> None:
    """Over a queue of its own below shop.control."""
    app = shop.app("worker")
    seen: list[str] = []

    def show(batch: Batch) -> None:
        seen.extend(type(event).__name__ for event in batch.events)

    watcher = Watcher(app.parts.session(), app.namespace, show)
    assert await asyncio.to_thread(watcher.ready.wait, PATIENCE)
    # An event is dropped for as long as there is no connection to send it over.
    await shop.until(lambda: app.parts.session().publishing.wire)
    Broadcaster(app.bus, app.parts.session(), namespace=app.namespace, worker=worker_name())
    async with working(*consuming(shop)):
        await shop.app("publisher").remote("echo", queue="emails").asend(1)
        await shop.until(lambda: "JobSucceeded" in seen)


async def test_a_reviewer_takes_in_releases_resolves_and_tells(shop: RoleShop) -> None:
    """Intake of all review queues, the desk's actions, the notifier, the outbox."""
    sender, reviewer = shop.app("publisher"), shop.app("reviewer")
    reviewer.parts.verify()
    fails = sender.remote("fails", queue="emails")
    told = NotifyRole(reviewer)
    async with working(*consuming(shop), IntakeRole(reviewer), told):
        order = await sender.remote("order", queue="orders").asend()
        tell, review = await fails.asend("tell"), await fails.asend("review")
        await shop.until(lambda: len(reviewer.desk.list().cases) == 3)
        cases = {case.job_id: case for case in reviewer.desk.list().cases}
        desk = reviewer.desk

        def decide(job_id: str, act: Callable[..., Any], *given: Any) -> None:
            act(cases[job_id].id, *given, who="ann", version=cases[job_id].version)

        await asyncio.to_thread(decide, order.id, desk.retry)
        assert await order.aresult(PATIENCE) == 2
        await asyncio.to_thread(decide, tell.id, desk.resolve, 7)
        assert await tell.aresult(PATIENCE) == 7
        await asyncio.to_thread(decide, review.id, desk.discard, "no")
        await shop.until(lambda: shop.total("notify") == 0)
    assert shop.total("review") == shop.total("review.orders") == 0


async def test_a_reviewer_puts_back_what_was_quarantined(shop: RoleShop) -> None:
    """And moves what the notifier cannot read into quarantine."""
    reviewer = shop.app("reviewer")
    strange = Outgoing("shop.fail", "notify", Properties(type="x", message_id="m"), b"?")
    await shop.app("worker").publisher.confirmed(strange)
    async with working(NotifyRole(reviewer)):
        await shop.until(lambda: shop.total("quarantine") == 1)
    wire = PikaWire()
    await wire.open(parse_urls(shop.url("reviewer"))[0], name="test")
    try:
        spec, publish = reviewer.spec, reviewer.publisher.confirmed
        found = await put_back(wire, "shop.quarantine", to="emails", spec=spec, publish=publish)
        assert found.sent + found.unreadable == 1
        await put_back(wire, "shop.undeliverable", to="emails", spec=spec, publish=publish)
    finally:
        await wire.close()


def test_doctor_finds_nothing_missing(shop: RoleShop) -> None:
    """For each user its own role; for another role it says what is missing."""
    others = {"publisher": "worker", "worker": "reviewer", "reviewer": "worker"}
    for role in ROLES:
        ran = shop.command(role, "doctor", "--role", role)
        assert f"has what it takes to be a {role}" in ran.output, ran.output
        assert "lacks" not in shop.command(role, "doctor").output
        ran = shop.command(role, "doctor", "--role", others.get(role, "worker"))
        assert ("lacks" in ran.output) is (role != "topology"), ran.output
    assert sum(shop.total(name) for name in ("q.emails", "review", "undeliverable")) == 0
