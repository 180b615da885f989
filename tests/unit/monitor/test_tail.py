"""The live tail: nothing is built while nobody watches, nothing is missed once somebody does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import msgspec
import pytest

from rabbitjobs import events
from rabbitjobs.broker.url import Address
from rabbitjobs.broker.version import from_version
from rabbitjobs.message.properties import Properties
from rabbitjobs.monitor import tail
from rabbitjobs.monitor.tail import Batch, Broadcaster, LateBroadcaster, Watcher
from rabbitjobs.testing.memory import declare_plan
from rabbitjobs.topology.model import default_spec
from rabbitjobs.topology.plan import compile_plan
from rabbitjobs.wire.memory import MemoryBroker, MemoryWire
from rabbitjobs.wire.protocol import Delivery
from rabbitjobs.wire.session import Session
from rabbitjobs.wire.subscription import Handed


@pytest.fixture
def session() -> Iterator[Session]:
    """On a broker in memory with the topology of a shop."""
    broker = MemoryBroker()
    declare_plan(broker, compile_plan(default_spec("shop", ("q",)), from_version(broker.version)))
    found = Session(lambda: MemoryWire(broker), [Address()], name="t")
    yield found
    found.close()


def until(condition: Callable[[], object]) -> None:
    """Wait for what happens on the I/O thread."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def event(number: int) -> events.Event:
    """The start of a job."""
    return events.JobStarted(
        at=float(number), redelivered=False, job_id=str(number), job="j", queue="q", attempt=1
    )


def test_without_a_watcher_the_bus_soon_wants_no_events_of_each_job(session: Session) -> None:
    """One is built to ask, then none until it asks again."""
    bus = events.Bus()
    Broadcaster(bus, session, namespace="shop", worker="w")
    assert bus.each

    def asked() -> bool:  # before there is a connection a batch is dropped, and says nothing
        bus.emit(event(1))
        return not bus.each

    until(asked)
    until(lambda: bus.each)
    until(asked)


def test_a_batch_that_cannot_be_shown_keeps_none_from_those_behind_it(
    session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    """Unacked, they would fill the prefetch, and the watcher would see nothing more."""
    seen: list[str] = []

    def show(batch: Batch) -> None:
        if batch.worker == "bad":
            raise RuntimeError("no terminal")
        seen.append(batch.worker)

    watcher = Watcher(session, "shop", show)
    assert watcher.ready.wait(60)
    bodies = [msgspec.json.encode(Batch(worker, 0, [])) for worker in ("bad", "good")]
    arrived = [
        Handed(Delivery(tag, "x", "k", False, Properties(), body), 0)
        for tag, body in enumerate(bodies)
    ]
    session.portal.post(watcher._deliver, arrived)
    until(lambda: seen)
    assert seen == ["good"]
    assert "showing a batch of events failed" in caplog.text


def test_a_watcher_that_is_ready_misses_nothing(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though nobody watched before, and workers were quiet."""
    monkeypatch.setattr(tail, "QUIET_SECONDS", 0.2)
    monkeypatch.setattr(tail, "HEARD_SECONDS", 0.3)
    bus, seen = events.Bus(), list[Batch]()
    Broadcaster(bus, session, namespace="shop", worker="w")
    watching = threading.Event()
    sent = 0

    def work() -> None:
        nonlocal sent
        while not watching.wait(0.001):
            bus.emit(event(0))
        for number in range(1, 301):
            bus.emit(event(number))
        sent = 300

    worker = threading.Thread(target=work)
    worker.start()
    until(lambda: not bus.each)
    watcher = Watcher(session, "shop", seen.append)
    assert watcher.ready.wait(60)
    watching.set()
    worker.join(60)
    assert sent == 300

    def arrived() -> list[float]:
        return [one.at for batch in seen for one in batch.events if one.at > 0]

    until(lambda: len(arrived()) == 300)
    assert arrived() == [float(number) for number in range(1, 301)]
    assert sum(batch.dropped for batch in seen) == 0


def test_a_process_with_a_rare_event_connects_for_it_and_loses_none(session: Session) -> None:
    """The first is held until there is a connection; without one there is no connection."""
    bus, seen, asked = events.Bus(), list[Batch](), list[None]()
    watcher = Watcher(session, "shop", seen.append)
    assert watcher.ready.wait(60)

    def connect() -> Session:
        asked.append(None)
        return session

    LateBroadcaster(bus, connect, namespace="shop", worker="w")
    assert asked == []
    assert not bus.each
    for number in (1, 2, 3):
        bus.emit(event(number))
    until(lambda: [one.at for batch in seen for one in batch.events] == [1.0, 2.0, 3.0])
