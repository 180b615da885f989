"""What the fleet shares, in each database: slices of rates, and leases of keys."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from rabbitjobs.backend.shares import Shares
from rabbitjobs.errors import StoreUnavailable
from rabbitjobs.store import slices
from rabbitjobs.store.engine import Store
from rabbitjobs.store.slices import Ask


@pytest.fixture
def stores(store_url: str) -> Iterator[list[Store]]:
    """Two processes' stores of one fresh namespace."""
    namespace = uuid.uuid4().hex
    made = [Store(store_url, namespace=namespace) for _ in range(2)]
    yield made
    for store in made:
        store.close()


@pytest.fixture
def fleet(stores: list[Store]) -> list[Shares]:
    return [Shares(lambda store=store: store) for store in stores]  # type: ignore[misc]


async def test_slices_of_one_rate_follow_each_other(
    fleet: list[Shares], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No moment is given to two processes."""
    # What nobody takes for a second is gone: on a busy machine that may pass between two of these.
    monkeypatch.setattr(slices, "CATCH_UP_SECONDS", 3600.0)
    ask = Ask(key="queue q", spacing=0.01, want=20)
    earliest: list[float] = []
    latest: list[float] = []
    for number in range(4):
        asked = time.time()
        one = await fleet[number % 2].take(ask)
        assert one.count == 20
        # Counted from a moment between the question and its answer.
        earliest.append(asked + one.starts_in)
        latest.append(time.time() + one.starts_in)
    for number in range(1, 4):
        after = number * 20 * 0.01
        assert earliest[number] - latest[0] <= after + 0.001
        assert latest[number] - earliest[0] >= after - 0.001


async def test_two_processes_that_ask_at_once_get_different_slices(fleet: list[Shares]) -> None:
    """Of many rates at a time, in whatever order."""
    asks = [Ask(key=f"rate {n % 5}", spacing=0.001, want=3) for n in range(60)]
    both = asks + asks[::-1]
    taken = await asyncio.gather(*(fleet[n % 2].take(ask) for n, ask in enumerate(both)))
    assert sum(one.count for one in taken) == 360
    last = await fleet[0].take(Ask(key="rate 0", spacing=0.001, want=1))
    assert last.count == 1


async def test_a_line_that_is_far_ahead_gives_nothing_and_says_when(fleet: list[Shares]) -> None:
    ask = Ask(key="queue q", spacing=500.0, want=1)
    began = time.time()
    first, second = await fleet[0].take(ask), await fleet[1].take(ask)
    between = time.time() - began
    assert (first.count, second.count) == (1, 0)
    assert 499.0 - between - 0.001 <= second.starts_in <= 499.001


async def test_one_at_a_time_holds_a_key(fleet: list[Shares]) -> None:
    assert await fleet[0].hold("k", 1, ("a", 1), "t1", 30)
    assert not await fleet[1].hold("k", 1, ("b", 1), "t2", 30)
    await fleet[0].free("a", "t1")
    assert await fleet[1].hold("k", 1, ("b", 1), "t2", 30)


async def test_as_many_as_the_limit_hold_a_key(fleet: list[Shares]) -> None:
    """Asked by two processes at once."""
    got = await asyncio.gather(
        *(fleet[n % 2].hold("k", 3, (f"j{n}", 1), f"t{n}", 30) for n in range(10))
    )
    assert sum(got) == 3


async def test_a_redelivered_job_takes_its_own_lease_over(fleet: list[Shares]) -> None:
    """Its earlier run renews no more, and cannot end the lease of the later one."""
    assert await fleet[0].hold("k", 1, ("a", 2), "t1", 30)
    assert await fleet[1].hold("k", 1, ("a", 2), "t2", 30)
    assert not await fleet[0].renew("k", "a", "t1", 30)
    assert await fleet[1].renew("k", "a", "t2", 30)
    await fleet[0].free("a", "t1")
    assert not await fleet[0].hold("k", 1, ("b", 1), "t3", 30)
    assert not await fleet[0].hold("k", 1, ("a", 1), "t4", 30)
    assert await fleet[0].hold("k", 1, ("a", 3), "t5", 30)


async def test_a_lease_that_nobody_renews_ends(fleet: list[Shares]) -> None:
    assert await fleet[0].hold("k", 1, ("a", 1), "t1", 0.2)
    deadline = time.monotonic() + 60
    while not await fleet[1].hold("k", 1, ("b", 1), "t2", 30):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    assert not await fleet[0].renew("k", "a", "t1", 30)


async def test_namespaces_share_nothing(store_url: str, fleet: list[Shares]) -> None:
    other = Store(store_url, namespace=uuid.uuid4().hex)
    try:
        strangers = Shares(lambda: other)
        assert await fleet[0].hold("k", 1, ("a", 1), "t1", 30)
        assert await strangers.hold("k", 1, ("b", 1), "t2", 30)
        ask = Ask(key="r", spacing=500.0, want=1)
        assert (await fleet[0].take(ask)).count == 1
        assert (await strangers.take(ask)).count == 1
    finally:
        other.close()


async def test_without_the_store_nothing_is_granted(stores: list[Store]) -> None:
    shares = Shares(lambda: stores[0])
    await shares.take(Ask(key="r", spacing=1.0, want=1))
    stores[0].close()
    with pytest.raises(StoreUnavailable):
        await shares.take(Ask(key="r", spacing=1.0, want=1))
    with pytest.raises(StoreUnavailable):
        await shares.hold("k", 1, ("a", 1), "t", 30)


async def test_many_questions_share_one_transaction(
    stores: list[Store], fleet: list[Shares]
) -> None:
    """While one commit takes long, the next questions collect."""
    await fleet[0].take(Ask(key="r", spacing=0.001, want=1))
    entered, go = threading.Event(), threading.Event()

    def hold(_connection: object) -> None:
        entered.set()
        go.wait(60)

    blocked = stores[0].submit(hold)
    await asyncio.to_thread(entered.wait, 60)
    asked = [
        asyncio.ensure_future(fleet[0].take(Ask(key="r", spacing=0.001, want=1))) for _ in range(50)
    ]
    await asyncio.sleep(0)
    go.set()
    assert sum(one.count for one in await asyncio.gather(*asked)) == 50
    blocked.result(60)
    with stores[1]._reader.connect() as connection:
        rows = connection.execute(text("SELECT count(*) FROM rj_rates")).scalar()
    assert rows
