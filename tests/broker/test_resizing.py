"""A consumer gets another prefetch while it works: nothing comes twice, nothing is counted."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from rabbitjobs.broker.url import parse_urls
from rabbitjobs.message.properties import Properties
from rabbitjobs.testing.control import RabbitControl
from rabbitjobs.wire.adjustable import AdjustableSubscription
from rabbitjobs.wire.aio_pika import AioPikaWire
from rabbitjobs.wire.pika import PikaWire
from rabbitjobs.wire.protocol import Confirmed, Outcome, Outgoing, Wire
from rabbitjobs.wire.session import Session
from rabbitjobs.wire.subscription import Handed
from tests.brokers import Vhost

COUNT = 30


class Holder:
    """Consumes and holds what it gets; acks on demand."""

    def __init__(self, session: Session, prefetch: int) -> None:
        self.session = session
        self.out: list[Handed] = []
        self.came = 0
        self.again = 0
        self.consuming = 0
        self.paused = 0
        self._changed = threading.Condition()
        link = session.consume()

        def subscribe() -> AdjustableSubscription:
            return AdjustableSubscription(
                link,
                "work",
                prefetch=prefetch,
                deliver=self._take,
                changed=lambda state, _reason: self._note(state),
            )

        self.subscription = asyncio.run_coroutine_threadsafe(
            _called(subscribe), session.portal.loop
        ).result()

    def _take(self, handed: list[Handed]) -> None:
        with self._changed:
            self.out += handed
            self.came += len(handed)
            self.again += sum(one.delivery.redelivered for one in handed)
            self._changed.notify_all()

    def _note(self, state: str) -> None:
        with self._changed:
            self.consuming += state == "consuming"
            self.paused += state == "paused"
            self._changed.notify_all()

    def wait(self, condition: Callable[[], object]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, 20), (self.came, self.consuming)

    def resize(self, prefetch: int) -> None:
        self.session.portal.post(self.subscription.resize, prefetch)

    def pause(self) -> None:
        self.session.portal.post(self.subscription.pause)

    def resume(self) -> None:
        self.session.portal.post(self.subscription.resume)

    def ack(self, count: int) -> None:
        with self._changed:
            taken, self.out = self.out[:count], self.out[count:]
        for one in taken:
            self.session.portal.post(self.subscription.ack, one)


async def _called(call: Callable[[], AdjustableSubscription]) -> AdjustableSubscription:
    return call()


@pytest.mark.parametrize("make_wire", [PikaWire, AioPikaWire])
async def test_the_prefetch_grows_and_shrinks_under_work(
    vhost: Vhost, make_wire: Callable[[], Wire]
) -> None:
    """What the old consumer was handed stays out and is settled by its old tag."""
    await _on_a_queue(vhost, make_wire, _play)


@pytest.mark.parametrize("make_wire", [PikaWire, AioPikaWire])
async def test_a_consumer_that_is_paused_under_work_counts_nothing(
    vhost: Vhost, make_wire: Callable[[], Wire]
) -> None:
    """What acks free just before it is cancelled is handed over, and settled as ever."""
    await _on_a_queue(vhost, make_wire, _pause)


async def _on_a_queue(
    vhost: Vhost, make_wire: Callable[[], Wire], play: Callable[[Session], None]
) -> None:
    control = RabbitControl(vhost.url, alarm=lambda _: None)
    await control.start()
    await control.declare_queue("work", {"x-queue-type": "quorum"})
    session = Session(make_wire, parse_urls(vhost.url), name="resizing")
    try:
        await asyncio.to_thread(play, session)
    finally:
        await asyncio.to_thread(session.close)
        await control.close()


def _play(session: Session) -> None:
    _fill(session)
    holder = Holder(session, 2)
    holder.wait(lambda: holder.came == 2)
    holder.resize(5)
    # The two that are out, and as many as the new consumer may hold beside them.
    holder.wait(lambda: holder.came == 7 and holder.consuming == 2)
    holder.ack(7)
    holder.wait(lambda: holder.came == 12)
    holder.resize(1)
    holder.wait(lambda: holder.came == 13 and holder.consuming == 3)
    holder.ack(12)
    holder.resize(4)
    holder.wait(lambda: holder.consuming == 4)
    while holder.came < COUNT:
        before = holder.came
        holder.ack(len(holder.out))
        holder.wait(lambda before=before: holder.came > before)  # type: ignore[misc]
    holder.ack(len(holder.out))
    assert holder.again == 0
    assert holder.came == COUNT
    asyncio.run_coroutine_threadsafe(_end(holder), session.portal.loop).result(20)
    again = Holder(session, COUNT)
    again.wait(lambda: again.consuming == 1)
    session.publish(_message(0), 10.0, lambda _: None)
    again.wait(lambda: again.came)
    # A queue gives in order: what had not been acked would have come before it.
    assert (again.came, again.again) == (1, 0)


def _pause(session: Session) -> None:
    _fill(session)
    holder = Holder(session, 3)
    for turn in range(1, 9):
        holder.wait(lambda: holder.out)
        holder.ack(2)
        holder.pause()
        holder.wait(lambda turn=turn: holder.paused == turn)  # type: ignore[misc]
        holder.resume()
        holder.wait(lambda turn=turn: holder.consuming == turn + 1)  # type: ignore[misc]
    while holder.came < COUNT:
        before = holder.came
        holder.ack(len(holder.out))
        holder.wait(lambda before=before: holder.came > before)  # type: ignore[misc]
    holder.ack(len(holder.out))
    assert (holder.came, holder.again) == (COUNT, 0)
    asyncio.run_coroutine_threadsafe(_end(holder), session.portal.loop).result(20)


async def _end(holder: Holder) -> None:
    await holder.subscription.stop()
    await holder.subscription.finish()


def _message(number: int) -> Outgoing:
    return Outgoing("", "work", Properties(message_id=f"m{number}-{id(object())}"), b"%d" % number)


def _fill(session: Session) -> None:
    outcomes: list[Outcome] = []
    done = threading.Event()

    def note(outcome: Outcome) -> None:
        outcomes.append(outcome)
        if len(outcomes) == COUNT:
            done.set()

    for number in range(COUNT):
        session.publish(_message(number), 10.0, note)
    assert done.wait(20)
    assert all(isinstance(outcome, Confirmed) for outcome in outcomes)
