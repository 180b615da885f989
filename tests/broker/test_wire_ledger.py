"""Under links that are cut again and again, every confirmed message is consumed: the ledger."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import partial

import aio_pika
import pytest
from yarl import URL

from rabbitjobs.message.properties import Properties
from rabbitjobs.testing.control import RabbitControl
from rabbitjobs.wire.aio_pika import AioPikaWire, over
from rabbitjobs.wire.pika import PikaWire
from rabbitjobs.wire.protocol import Confirmed, Outcome, Outgoing, Wire
from rabbitjobs.wire.session import Session
from rabbitjobs.wire.subscription import Handed, State, Subscription
from tests.brokers import Vhost

COUNT = 2000
CUTS = 4


@pytest.fixture
async def control(vhost: Vhost) -> AsyncIterator[RabbitControl]:
    made = RabbitControl(vhost.url, alarm=lambda _: None)
    await made.start()
    yield made
    await made.close()


class Ledger:
    """What was confirmed and what was consumed; written on the I/O thread, read anywhere."""

    def __init__(self) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self.consumed: Counter[str] = Counter()
        self.states: list[State] = []
        self._changed = threading.Condition()

    def settle(self, number: str, outcome: Outcome) -> None:
        with self._changed:
            self.outcomes[number] = outcome
            self._changed.notify_all()

    def consume(self, number: str) -> None:
        with self._changed:
            self.consumed[number] += 1
            self._changed.notify_all()

    def note(self, state: State, _: str) -> None:
        with self._changed:
            self.states.append(state)
            self._changed.notify_all()

    def wait(self, predicate: Callable[[Ledger], bool], timeout: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: predicate(self), timeout)


@pytest.mark.parametrize("make_wire", [PikaWire, AioPikaWire], ids=["pika", "aio-pika"])
async def test_every_confirmed_message_is_consumed_whatever_is_cut(
    make_wire: Callable[[], Wire], control: RabbitControl
) -> None:
    await control.declare_queue("q")
    ledger = Ledger()
    session = Session(make_wire, [control.address], name="ledger")
    subscription = await asyncio.to_thread(subscribe, session, ledger)
    try:
        publishing = asyncio.create_task(publish_all(session, ledger))
        for cut in range(1, CUTS + 1):
            share = COUNT * cut // (CUTS + 1)
            assert await asyncio.to_thread(ledger.wait, consumed(share), 60)
            await control.drop_connections()
        await publishing
        assert await asyncio.to_thread(ledger.wait, settled(COUNT), 60)
        assert await asyncio.to_thread(ledger.wait, consumed(COUNT), 60)
        await session.portal.run(drain(subscription))
    finally:
        await asyncio.to_thread(session.close)
    assert all(isinstance(outcome, Confirmed) for outcome in ledger.outcomes.values())
    assert set(ledger.consumed) == {str(number) for number in range(COUNT)}
    assert "consuming" in ledger.states and ledger.states[-1] == "stopped"


async def test_an_app_can_use_the_connection_of_a_service_and_leaves_it_open(
    vhost: Vhost, control: RabbitControl
) -> None:
    await control.declare_queue("q")
    ledger = Ledger()
    connection = aio_pika.Connection(URL(vhost.url))
    await connection.connect()
    session = Session(over(connection), [control.address], name="ledger")
    subscription = await asyncio.to_thread(subscribe, session, ledger)
    await publish_all(session, ledger, 100)
    assert await asyncio.to_thread(ledger.wait, settled(100), 30)
    assert await asyncio.to_thread(ledger.wait, consumed(100), 30)
    await session.portal.run(drain(subscription))
    await asyncio.to_thread(session.close)
    assert all(isinstance(outcome, Confirmed) for outcome in ledger.outcomes.values())
    async with connection.channel() as channel:
        assert (await channel.get_queue("q")).declaration_result.message_count == 0
    await connection.close()


def consumed(count: int) -> Callable[[Ledger], bool]:
    return lambda seen: len(seen.consumed) >= count


def settled(count: int) -> Callable[[Ledger], bool]:
    return lambda seen: len(seen.outcomes) >= count


def subscribe(session: Session, ledger: Ledger) -> Subscription:
    link = session.consume()

    async def attach() -> Subscription:
        def deliver(arrived: list[Handed]) -> None:
            for handed in arrived:
                ledger.consume(handed.delivery.body.decode())
                subscription.ack(handed)

        subscription = Subscription(link, "q", prefetch=50, deliver=deliver, changed=ledger.note)
        return subscription

    return session.portal.submit(attach()).result(40)


async def publish_all(session: Session, ledger: Ledger, count: int = COUNT) -> None:
    for number in range(count):
        name = str(number)
        message = Outgoing("", "q", Properties(), name.encode())
        session.publish(message, 60, partial(ledger.settle, name))
        if number % 20 == 0:
            await asyncio.sleep(0.01)


async def drain(subscription: Subscription) -> None:
    await subscription.stop()
    await subscription.finish()
