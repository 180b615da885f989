"""Threads that run sync jobs: at most so many, each call in its context, and none after a stop."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest

from rabbitjobs.consumer.threads import Threads

who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


async def test_values_and_errors_come_back_as_values() -> None:
    """StopIteration too, which no future could carry."""
    threads = Threads(2, name="t")

    def stops() -> None:
        raise StopIteration(7)

    def leaves() -> None:
        raise SystemExit(3)

    assert await threads.run(divmod, [7, 2], {}) == ((3, 1), None)
    for call, kind in ((stops, StopIteration), (leaves, SystemExit)):
        value, raised = await threads.run(call, [], {})
        assert value is None and isinstance(raised, kind)
    threads.stop()


async def test_threads_are_started_as_they_are_needed() -> None:
    """One for jobs that follow each other, no more than its size for any number at once."""
    threads = Threads(3, name="t")
    idents = {(await threads.run(threading.get_ident, [], {}))[0] for _ in range(20)}
    assert len(idents) == 1
    gate = threading.Barrier(3)
    waits = [threads.run(gate.wait, [10], {}) for _ in range(6)]
    assert sorted(value for value, _ in await asyncio.gather(*waits)) == [0, 0, 1, 1, 2, 2]
    threads.stop()


async def test_a_call_sees_its_callers_context_and_leaves_nothing_in_it() -> None:
    """Nor in that of the next call on the same thread."""
    threads = Threads(1, name="t")

    def swap(name: str) -> str:
        before = who.get()
        who.set(name)
        return before

    who.set("ann")
    assert (await threads.run(swap, ["bob"], {}))[0] == "ann"
    assert (await threads.run(swap, ["eve"], {}))[0] == "ann"
    assert who.get() == "ann"
    threads.stop()


@pytest.mark.parametrize("cancelled", [True, False], ids=["cancelled", "stopped"])
async def test_what_no_thread_has_taken_is_never_run(cancelled: bool) -> None:
    """A message that is given back must not run here all the same."""
    threads = Threads(1, name="t")
    gate, ran, started = threading.Event(), threading.Event(), threading.Event()

    def wait() -> bool:
        started.set()
        return gate.wait(10)

    first = threads.run(wait, [], {})
    assert await asyncio.to_thread(started.wait, 10)
    second = threads.run(ran.set, [], {})
    if cancelled:
        second.cancel()
    else:
        threads.stop()
    gate.set()
    assert (await first)[0] is True
    with pytest.raises(asyncio.CancelledError):
        await second
    if cancelled:
        assert (await threads.run(threading.get_ident, [], {}))[1] is None
        threads.stop()
    for thread in threads._threads:
        await asyncio.to_thread(thread.join, 10)
        assert not thread.is_alive()
    assert not ran.is_set()
