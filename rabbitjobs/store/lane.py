"""A lane: one thread that takes everything that waits and runs it as one batch.

The size of a batch follows the load by itself: while one batch runs (a commit waits for the
disk), the next one collects. Nothing is delayed to make batches larger.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

from rabbitjobs.errors import StoreUnavailable

# Beyond this a batch gains nothing, and its first waiter would wait for the last one's work.
MOST = 2000
# Written-behind items that are overtaken within this time are never written at all.
BEHIND_SECONDS = 0.1

Waiter = Future[Any] | asyncio.Future[Any]


class Item(NamedTuple):
    """One piece of work: a bulk function and its value, or a single function (``bulk`` None)."""

    bulk: Callable[..., Sequence[Any]] | None
    value: Any
    waiter: Waiter | None


class Outcome(NamedTuple):
    """What became of an item: an error, or a value."""

    item: Item
    error: BaseException | None
    value: Any


class Lane:
    """A worker thread behind a queue; started by its first item.

    ``work`` gets a list of items and returns an outcome for each; it must not raise.
    """

    def __init__(self, name: str, work: Callable[[list[Item]], list[Outcome]]) -> None:
        self._name = name
        self._work = work
        self._ready = threading.Condition(threading.Lock())
        self._items: deque[Item] = deque()
        self._behind: dict[Hashable, tuple[float, Item]] = {}
        self._thread: threading.Thread | None = None
        self._idle = False
        self._wakes = float("inf")
        self._closed = False

    def put(self, item: Item) -> None:
        """Queue an item; raises ``StoreUnavailable`` once the lane is closed."""
        with self._ready:
            self._refuse_if_closed()
            self._items.append(item)
            if self._idle:
                self._ready.notify()

    def put_behind(self, key: Hashable, item: Item) -> None:
        """Queue an item that nobody waits for; a newer one under the same key replaces it."""
        with self._ready:
            self._refuse_if_closed()
            due = self._behind[key][0] if key in self._behind else time.monotonic() + BEHIND_SECONDS
            self._behind[key] = (due, item)
            # Jobs shorter than that time put and forget all the time: no need to wake up for it.
            if self._idle and due < self._wakes:
                self._ready.notify()

    def forget(self, key: Hashable) -> None:
        """Drop a written-behind item that has not been written yet."""
        if key in self._behind:
            with self._ready:
                self._behind.pop(key, None)

    def close(self, timeout: float | None = None) -> bool:
        """Do what still waits, then end the thread; whether it did within ``timeout`` seconds."""
        with self._ready:
            self._closed = True
            thread = self._thread
            self._ready.notify()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
            return not thread.is_alive()
        return True

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise StoreUnavailable("expected an open store, got a closed one; open a new Store")
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while batch := self._take():
            _settle(_guarded(self._work, batch))

    def _take(self) -> list[Item]:
        with self._ready:
            while not self._items and not self._closed and not self._due():
                patience = self._patience()
                self._wakes = float("inf") if patience is None else time.monotonic() + patience
                self._idle = True
                self._ready.wait(patience)
                self._idle = False
            batch = [self._items.popleft() for _ in range(min(len(self._items), MOST))]
            return batch + self._due_items()

    def _patience(self) -> float | None:
        first = next(iter(self._behind.values()), None)
        return None if first is None else max(0.0, first[0] - time.monotonic())

    def _due(self) -> bool:
        return bool(self._behind) and (self._patience() or 0.0) <= 0

    def _due_items(self) -> list[Item]:
        limit = float("inf") if self._closed else time.monotonic()
        keys: list[Hashable] = []
        for key, (due, _item) in self._behind.items():
            if due > limit or len(keys) >= MOST:
                break
            keys.append(key)
        return [self._behind.pop(key)[1] for key in keys]


def _guarded(work: Callable[[list[Item]], list[Outcome]], batch: list[Item]) -> list[Outcome]:
    try:
        return work(batch)
    except BaseException as error:  # the edge of a thread: a waiter left alone would hang
        return [Outcome(item, error, None) for item in batch]


def _settle(outcomes: list[Outcome]) -> None:
    """Hand every outcome to its waiter: one wake-up for each event loop, not one for each job."""
    loops: dict[asyncio.AbstractEventLoop, list[Outcome]] = {}
    for outcome in outcomes:
        waiter = outcome.item.waiter
        if isinstance(waiter, asyncio.Future):
            loops.setdefault(waiter.get_loop(), []).append(outcome)
        elif waiter is not None:
            _finish(outcome)
    for loop, group in loops.items():
        try:
            loop.call_soon_threadsafe(_finish_all, group)
        except RuntimeError:  # the loop was closed while its caller waited: nobody is left
            continue


def _finish_all(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        _finish(outcome)


def _finish(outcome: Outcome) -> None:
    waiter = outcome.item.waiter
    if waiter is None or waiter.done():
        return
    if outcome.error is not None:
        waiter.set_exception(outcome.error)
    else:
        waiter.set_result(outcome.value)
