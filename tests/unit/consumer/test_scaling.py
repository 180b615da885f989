"""Slots between least and most, by backlog and job time, without a flutter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rabbitjobs import events
from rabbitjobs.consumer.autoscale import Autoscale
from rabbitjobs.consumer.scaling import CALM_LOOKS, Load, Scaling, wanted_slots


def load(
    ready: int = 0, *, busy: int = 0, seconds: float = 1.0, consumers: int = 1, waiting: int = 0
) -> Load:
    """How it stands."""
    return Load(ready=ready, consumers=consumers, busy=busy, waiting=waiting, job_seconds=seconds)


@pytest.mark.parametrize(
    ("now", "given", "wanted"),
    [
        (4, load(0, busy=4), 4),
        (4, load(0, busy=0), 0),
        (4, load(100, busy=4, seconds=1.0), 24),
        (4, load(100, busy=4, seconds=0.01), 5),
        (4, load(100, busy=4, seconds=1.0, consumers=4), 9),
        (4, load(2, busy=4, seconds=60.0), 6),
        (4, load(100, busy=4, seconds=0.0), 8),
        (4, load(0, busy=4, waiting=4, seconds=10.0), 8),
    ],
)
def test_so_many_that_the_backlog_is_gone_in_time(now: int, given: Load, wanted: int) -> None:
    """Our share of it, and never more slots than jobs."""
    assert wanted_slots(now, given) == wanted


def test_more_come_at_once_and_at_most_twice_as_many() -> None:
    """A guess of what jobs take may be wrong."""
    scaling = Scaling(2, 50)
    slots = [2]
    for _ in range(6):
        slots.append(scaling.slots(slots[-1], load(10_000, busy=slots[-1])))
    assert slots == [2, 4, 8, 16, 32, 50, 50]


def test_slots_that_are_free_are_not_what_the_backlog_waits_for() -> None:
    """A rate is, say, or the broker."""
    assert Scaling(2, 50).slots(10, load(10_000, busy=3)) == 10


def test_fewer_come_only_after_a_calm_while() -> None:
    """And half of them at a time."""
    scaling = Scaling(2, 50)
    slots = [32]
    for _ in range(CALM_LOOKS * 5):
        slots.append(scaling.slots(slots[-1], load(0, busy=1)))
    assert slots[CALM_LOOKS - 1] == 32
    assert slots[::CALM_LOOKS] == [32, 16, 8, 4, 2, 2]


def test_one_busy_look_begins_the_calm_anew() -> None:
    """So a load that comes and goes changes nothing."""
    scaling = Scaling(2, 50)
    for look in range(40):
        busy = 8 if look % (CALM_LOOKS - 1) == 0 else 1
        assert scaling.slots(10, load(0, busy=busy)) == 10


@given(
    st.integers(1, 20),
    st.integers(0, 80),
    st.lists(
        st.builds(
            Load,
            ready=st.integers(0, 10**6),
            consumers=st.integers(0, 20),
            busy=st.integers(0, 100),
            waiting=st.integers(0, 100),
            job_seconds=st.floats(0, 1e4),
        ),
        max_size=30,
    ),
)
def test_always_between_least_and_most(least: int, more: int, loads: list[Load]) -> None:
    """Whatever is seen."""
    scaling = Scaling(least, least + more)
    slots = least
    for one in loads:
        slots = scaling.slots(slots, one)
        assert least <= slots <= least + more


class Queue:
    """What is scaled, without a broker."""

    queue = "q"

    def __init__(self, ready: int) -> None:
        self.slots = 2
        self.busy = 2
        self.waiting = 0
        self.ready = ready

    async def backlog(self) -> tuple[int, int]:
        """As the broker says."""
        return self.ready, 1

    def resize(self, slots: int) -> None:
        """All of them run a job at once."""
        self.slots = self.busy = slots


async def test_a_change_is_made_and_told() -> None:
    """One event for each, none where nothing changes."""
    heard: list[events.Event] = []
    bus = events.Bus()
    bus.listen(heard.append)
    scaled = Queue(ready=400)
    autoscale = Autoscale(2, 5, bus=bus)
    for _ in range(3):
        autoscale.took(1.0)
        await autoscale.look(scaled)
    assert scaled.slots == 5
    told = [one for one in heard if isinstance(one, events.SlotsChanged)]
    assert [(one.before, one.slots, one.ready, one.job_seconds) for one in told] == [
        (2, 4, 400, 1.0),
        (4, 5, 400, 1.0),
    ]
