"""The bus: who hears what, and that events nobody wants need not be built."""

from __future__ import annotations

import pytest

from rabbitjobs.events import Bus, Event, WorkerStarted

EVENT = WorkerStarted(at=1.0, worker="w", roles="r")


def test_every_listener_hears_every_event() -> None:
    bus, heard = Bus(), list[Event]()
    assert not bus
    bus.listen(heard.append)
    bus.listen(heard.append, each=False)
    bus.emit(EVENT)
    assert heard == [EVENT, EVENT]


def test_each_is_true_while_somebody_wants_the_start_and_success_of_every_job() -> None:
    bus, heard = Bus(), list[Event]()
    listener = heard.append
    bus.listen(listener, each=False)
    assert bus and not bus.each
    bus.want_each(listener, True)
    assert bus.each
    bus.want_each(listener, False)
    assert not bus.each
    bus.want_each(listener, True)
    bus.unlisten(listener)
    assert not bus.each and not bus


def test_a_listeners_error_stops_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    bus, heard = Bus(), list[Event]()

    def fails(event: Event) -> None:
        raise ValueError("mine")

    bus.listen(fails)
    bus.listen(heard.append)
    bus.emit(EVENT)
    assert heard == [EVENT]
    assert "ValueError: mine" in capsys.readouterr().err
