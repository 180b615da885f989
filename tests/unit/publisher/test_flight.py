"""Many publishes at once, by numbers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import pytest

from rabbitjobs.message.properties import Properties
from rabbitjobs.publisher import flight as module
from rabbitjobs.publisher.flight import Flight, Request
from rabbitjobs.wire.protocol import CONFIRMED, Outcome, Outgoing, Rejected

MESSAGE = Outgoing("x", "k", Properties(), b"")


class Broker:
    """Confirms from a thread of its own, when it is told to."""

    def __init__(self) -> None:
        self.out: list[Callable[[Outcome], None]] = []
        self.batches: list[int] = []
        self.most = 0
        self.arrived = threading.Event()

    def take(self, requests: Sequence[Request]) -> None:
        self.batches.append(len(requests))
        self.out += [done for _, _, done in requests]
        self.most = max(self.most, len(self.out))
        self.arrived.set()

    def confirm(self, stop: threading.Event) -> None:
        while not stop.is_set():
            while self.out:
                self.out.pop()(CONFIRMED)
            self.arrived.wait(0.01)
            self.arrived.clear()


@pytest.fixture
def broker() -> Broker:
    return Broker()


def test_each_outcome_is_kept_by_its_number_and_the_skipped_have_none(broker: Broker) -> None:
    flight = Flight(10, broker.take)
    flight.board(MESSAGE, 1.0)
    flight.skip()
    flight.board(MESSAGE, 1.0)
    flight._leave()
    no = Rejected("nacked", "full")
    broker.out[1](no)
    broker.out[0](CONFIRMED)
    flight.land()
    assert flight.outcomes == {0: CONFIRMED, 2: no}


def test_no_more_than_the_window_are_out_and_all_are_waited_for(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOGETHER", 10)
    flight = Flight(50, broker.take)
    stop = threading.Event()
    thread = threading.Thread(target=broker.confirm, args=(stop,))
    thread.start()
    for _ in range(5000):
        flight.board(MESSAGE, 1.0)
    flight.land()
    stop.set()
    thread.join()
    assert sorted(flight.outcomes) == list(range(5000))
    assert broker.most <= 50


def test_what_comes_slowly_does_not_wait_for_company(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    # Its own clock only: that of everybody in this process must go on.
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    flight = Flight(50, broker.take)
    for _ in range(3):
        flight.board(MESSAGE, 1.0)
        now[0] += 2 * module.LONGEST_SECONDS
    assert broker.batches == [1, 1, 1]
