"""The I/O thread and its door: in order, in batches, and never a call that is lost silently."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future

import pytest

from rabbitjobs.broker.url import Address
from rabbitjobs.message.properties import Properties
from rabbitjobs.wire.mailbox import Mailbox
from rabbitjobs.wire.memory import MemoryBroker, MemoryWire
from rabbitjobs.wire.portal import Portal
from rabbitjobs.wire.protocol import Outcome, Outgoing, Rejected, Unknown
from rabbitjobs.wire.session import Session


async def test_calls_from_many_threads_arrive_each_once_and_in_their_order() -> None:
    """Every thread's own order is kept."""
    box = Mailbox(asyncio.get_running_loop())
    taken: list[tuple[int, int]] = []
    everything = asyncio.Event()

    def take(thread: int, number: int) -> None:
        taken.append((thread, number))
        if len(taken) == 8 * 500:
            everything.set()

    def post(thread: int) -> None:
        for number in range(500):
            box.post(take, thread, number)

    threads = [threading.Thread(target=post, args=(each,)) for each in range(8)]
    for thread in threads:
        thread.start()
    async with asyncio.timeout(60):
        await everything.wait()
    for each in range(8):
        assert [number for thread, number in taken if thread == each] == list(range(500))


async def test_a_call_that_fails_is_reported_and_stops_nobody() -> None:
    """Its neighbours ride on."""
    loop = asyncio.get_running_loop()
    reported: list[str] = []
    loop.set_exception_handler(lambda _, context: reported.append(str(context["exception"])))
    box = Mailbox(loop)
    heard: Future[None] = Future()

    def fail() -> None:
        raise ValueError("mine")

    box.post(fail)
    box.post(heard.set_result, None)
    await asyncio.wrap_future(heard)
    assert reported == ["mine"]


def test_a_call_after_the_end_runs_where_it_is_posted() -> None:
    """Nobody waits for ever for an answer that cannot come."""
    portal = Portal()
    portal.close()
    ran: list[int] = []
    portal.post(ran.append, 1)
    assert ran == [1]
    portal.close()


def test_a_call_between_the_end_of_the_loop_and_that_of_its_mailbox_runs_all_the_same() -> None:
    """Whoever waits for its answer would wait for ever; later ones find the mailbox closed."""
    loop = asyncio.new_event_loop()
    box = Mailbox(loop)
    loop.close()
    ran: list[int] = []
    box.post(ran.append, 1)
    box.post(ran.append, 2)
    box.close()
    assert ran == [1, 2]


async def test_work_on_the_io_thread_goes_on_when_its_waiter_is_cancelled() -> None:
    """A cancelled RPC would close its channel."""
    portal = Portal()
    started, go_on, done = threading.Event(), asyncio.Event(), threading.Event()

    async def work() -> None:
        started.set()
        await go_on.wait()
        assert portal.inside()
        done.set()

    waiting = asyncio.create_task(portal.run(work()))
    await asyncio.to_thread(started.wait)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    portal.post(go_on.set)
    assert await asyncio.to_thread(done.wait, 60)
    portal.close()


MESSAGE = Outgoing("", "q", Properties(), b"")


def publish(session: Session) -> Outcome:
    """Publish and wait."""
    future: Future[Outcome] = Future()
    session.publish(MESSAGE, 60, future.set_result)
    return future.result(60)


def test_a_session_that_closes_answers_everybody() -> None:
    """Who waits for a confirm, and who comes too late."""
    broker = MemoryBroker()
    broker.declare_queue("q", arguments={})
    session = Session(lambda: MemoryWire(broker), [Address()], name="t")
    broker.confirming = False
    waiting: Future[Outcome] = Future()
    session.publish(MESSAGE, 60, waiting.set_result)
    assert broker.wait_until(lambda _: broker.depth("q") == (1, 0))
    session.close()
    assert isinstance(waiting.result(60), Unknown)
    late = publish(session)
    assert isinstance(late, Rejected)
    assert late.reason == "unavailable"


def test_threads_that_publish_while_a_session_closes_all_get_an_answer() -> None:
    """At every moment of the closing."""
    broker = MemoryBroker()
    broker.declare_queue("q", arguments={})
    for _ in range(5):
        session = Session(lambda: MemoryWire(broker), [Address()], name="t")
        answers: list[Outcome] = []
        begun = threading.Barrier(5)

        def work(
            session: Session = session,
            begun: threading.Barrier = begun,
            answers: list[Outcome] = answers,
        ) -> None:
            begun.wait()
            answers.extend(publish(session) for _ in range(100))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        begun.wait()
        session.close()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        assert len(answers) == 400
