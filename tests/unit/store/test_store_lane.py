"""The lane: batches follow the load, and no waiter is ever left alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from rabbitjobs.errors import StoreUnavailable
from rabbitjobs.store import lane as lane_module
from rabbitjobs.store.lane import Item, Lane, Outcome

Work = Callable[[list[Item]], list[Outcome]]


def echo(batch: list[Item]) -> list[Outcome]:
    """Answer each item with its value."""
    return [Outcome(item, None, item.value) for item in batch]


def an_item(value: object) -> tuple[Item, Future[Any]]:
    future: Future[Any] = Future()
    return Item(None, value, future), future


def test_a_batch_is_what_came_while_the_last_one_ran() -> None:
    """Up to a limit, beyond which the first waiter would wait for the last one's work."""
    sizes: list[int] = []
    entered, go = threading.Event(), threading.Event()

    def work(batch: list[Item]) -> list[Outcome]:
        sizes.append(len(batch))
        entered.set()
        go.wait(60)
        return echo(batch)

    lane = Lane("test", work)
    pairs = [an_item(number) for number in range(lane_module.MOST + 11)]
    lane.put(pairs[0][0])
    assert entered.wait(60)
    for item, _ in pairs[1:]:
        lane.put(item)
    go.set()
    assert [future.result(60) for _, future in pairs] == list(range(len(pairs)))
    assert sizes == [1, lane_module.MOST, 10]
    lane.close()


def test_work_that_raises_fails_its_waiters_and_not_the_thread() -> None:
    """Even what is no Exception: a waiter left alone would hang."""

    def work(batch: list[Item]) -> list[Outcome]:
        if batch[0].value == "bad":
            raise SystemExit
        return echo(batch)

    lane = Lane("test", work)
    bad, good = an_item("bad"), an_item("good")
    lane.put(bad[0])
    with pytest.raises(SystemExit):
        bad[1].result(60)
    lane.put(good[0])
    assert good[1].result(60) == "good"
    lane.close()


def test_what_is_overtaken_is_never_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest of a key is; a forgotten one is not."""
    # However long this test is kept from going on, it is in time.
    monkeypatch.setattr(lane_module, "BEHIND_SECONDS", 3600.0)
    written: list[object] = []

    def work(batch: list[Item]) -> list[Outcome]:
        written.extend(item.value for item in batch)
        return echo(batch)

    lane = Lane("test", work)
    for value in (1, 2, 3):
        lane.put_behind("progress", Item(None, value, None))
    lane.put_behind("other", Item(None, "dropped", None))
    lane.forget("other")
    lane.forget("unknown")
    lane.close()
    assert written == [3]


def test_a_closed_lane_takes_nothing() -> None:
    """It says so at once."""
    lane = Lane("test", echo)
    lane.close()
    for put in (lane.put, lambda item: lane.put_behind("k", item)):
        with pytest.raises(StoreUnavailable):
            put(an_item(1)[0])


def test_a_loop_that_is_gone_disturbs_nobody() -> None:
    """Its process may be at its end; the other waiters of the batch are answered."""
    loop = asyncio.new_event_loop()
    go = threading.Event()

    def work(batch: list[Item]) -> list[Outcome]:
        go.wait(60)
        return echo(batch)

    lane = Lane("test", work)
    lane.put(Item(None, 1, loop.create_future()))
    item, future = an_item(2)
    lane.put(item)
    loop.close()
    go.set()
    assert future.result(60) == 2
    lane.close()
