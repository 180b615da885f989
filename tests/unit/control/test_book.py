"""What a worker knows of cancellations: read ahead, fresh, and never asked for per message."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from rabbitjobs.control import book as module
from rabbitjobs.control.book import Book
from rabbitjobs.errors import StoreUnavailable
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.store.cancellations import Cancellation


class Log:
    """A store's log of cancellations, which can be down and can hang."""

    def __init__(self) -> None:
        self.rows: list[Cancellation] = []
        self.asked: list[int] = []
        self.down = False
        self.open = threading.Event()
        self.open.set()

    def add(self, value: str, *, tag: bool = False, at: float = 100.0) -> Cancellation:
        """Somebody cancels."""
        one = Cancellation(
            number=len(self.rows) + 1,
            kind="tag" if tag else "id",
            value=value,
            at=at,
            grace=1.0,
            who="ann",
        )
        self.rows.append(one)
        return one

    def read(self, number: int) -> Sequence[Cancellation]:
        """What the book reads by."""
        self.asked.append(number)
        self.open.wait(60)
        if self.down:
            raise StoreUnavailable("the store is down")
        return tuple(one for one in self.rows if one.number > number)


def job(job_id: str = "i", *, tag: str | None = None, enqueued: float = 50.0) -> Envelope:
    """A sent job."""
    return Envelope(id=job_id, job="j", queue="q", body=b"", tag=tag, enqueued=enqueued)


@pytest.fixture
def clock() -> list[float]:
    """The book's clock, to be moved by hand."""
    return [1000.0]


async def test_a_job_is_meant_by_its_id_or_by_its_tag_if_it_was_sent_before() -> None:
    """Sent in the very millisecond of the cancellation it still is."""
    log = Log()
    by_id, by_tag = log.add("i"), log.add("t", tag=True)
    book = Book(log.read)
    await book.renew()
    assert book.of(job("i")) == by_id
    assert book.of(job("k")) is None
    assert book.of(job("k", tag="t")) == by_tag
    assert book.of(job("k", tag="t", enqueued=100.0005)) == by_tag
    assert book.of(job("k", tag="t", enqueued=100.01)) is None
    assert book.of(job("k", tag="other")) is None


async def test_what_is_fresh_is_not_read_again(clock: list[float]) -> None:
    """Without cancellations there is nothing to ask; with them a look into memory does."""
    log = Log()
    book = Book(log.read, clock=lambda: clock[0])
    assert not book.settled
    assert await book.look(job()) is None
    assert book.settled
    log.add("i")
    clock[0] += 0.1
    await book.renew()
    assert not book.settled
    for _ in range(100):
        assert await book.look(job()) is not None
    assert len(log.asked) == 2
    clock[0] += module.FRESH_SECONDS + 1
    await book.look(job())
    assert len(log.asked) == 3


async def test_a_job_waits_for_a_store_that_is_down_unless_it_needs_none(
    clock: list[float],
) -> None:
    """One that keeps nothing starts on what is known, and waits for the store once in a while."""
    log = Log()
    log.down = True
    book = Book(log.read, clock=lambda: clock[0])
    with pytest.raises(StoreUnavailable):
        await book.look(job())
    clock[0] += module.FRESH_SECONDS + 1
    before = len(log.asked)
    for _ in range(50):
        assert await book.look(job(), wait=False) is None
    assert len(log.asked) == before + 1


async def test_jobs_that_need_no_store_wait_together_for_one_that_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At the start, say, when nothing has been read yet; and no longer once that was too long."""
    monkeypatch.setattr(module, "FRESH_SECONDS", 0.05)
    log = Log()
    log.add("i")
    log.open.clear()
    book = Book(log.read)
    first = [asyncio.create_task(book.look(job(), wait=False)) for _ in range(3)]
    assert await asyncio.gather(*first) == [None] * 3
    with pytest.raises(StopIteration) as answered:  # at its first step: it waits for nothing
        book.look(job(), wait=False).send(None)
    assert answered.value.value is None
    monkeypatch.setattr(module, "FRESH_SECONDS", 60.0)
    log.open.set()
    await book.renew()
    assert await book.look(job(), wait=False) is not None
    assert log.asked == [0, 1]


async def test_a_read_that_began_before_somebody_asked_does_not_do() -> None:
    """What was written while it ran might be missing in it."""
    log = Log()
    log.open.clear()
    book = Book(log.read)
    first = asyncio.create_task(book.renew())
    while not log.asked:
        await asyncio.sleep(0.001)
    second = asyncio.create_task(book.renew())
    await asyncio.sleep(0)
    log.open.set()
    await asyncio.gather(first, second)
    assert len(log.asked) == 2


async def test_listeners_hear_each_new_one_once_more_or_less(clock: list[float]) -> None:
    """And what has expired in the store is forgotten with the next whole reading."""
    log = Log()
    heard: list[str] = []
    book = Book(log.read, clock=lambda: clock[0])
    book.listen(lambda one: heard.append(one.value))
    log.add("a")
    await book.renew()
    clock[0] += 1
    log.add("b")
    await book.renew()
    assert heard == ["a", "b"]
    assert log.asked == [0, 1]
    log.rows.pop(0)
    clock[0] += module.ANEW_SECONDS
    await book.renew()
    assert log.asked[-1] == 0
    assert book.of(job("a")) is None and book.of(job("b")) is not None
    assert heard == ["a", "b"]


async def test_it_goes_on_reading_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of any kind: a worker that read no more in silence would cancel nothing."""
    monkeypatch.setattr(module, "READ_SECONDS", 0.001)
    log = Log()
    log.down = True
    book = Book(log.read)
    book.start()
    while "the store is down" not in book.trouble:
        await asyncio.sleep(0.001)
    log.down = False
    while book.trouble:
        await asyncio.sleep(0.001)
    assert book.age < 5
    asked = len(log.asked)
    for _ in range(2):
        book.stop()
    assert await book.look(job()) is None
    await book.renew()
    assert len(log.asked) <= asked + 1
