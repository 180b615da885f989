"""A consumer timeout in effect that is not above the time limit is said with what to do."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rabbitjobs.broker.version import from_version
from rabbitjobs.topology.config import loads
from rabbitjobs.topology.live import Live, LiveQueue
from rabbitjobs.topology.model import QueueSpec
from rabbitjobs.topology.plan import compile_plan
from rabbitjobs.topology.timeouts import asked_timeout, too_short, unserved


@pytest.mark.parametrize(("effective", "found"), [(60_000, 1), (7_200_000, 1), (7_260_000, 0)])
def test_the_timeout_in_effect_is_held_against_the_limit(effective: int, found: int) -> None:
    spec = loads("version: 1\nqueues: {q: {time_limit: 2h}}\n", "topology.yaml", env={})
    name = "rabbitjobs.q.q"
    queue = LiveQueue(name=name, effective={"consumer-timeout": effective})
    said = too_short(
        compile_plan(spec, from_version("4.3.6")), Live(exchanges={}, queues={name: queue})
    )
    assert len(said) == found
    assert all("above the time_limit of 2h" in one for one in said)


HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("version", "limits", "queue", "refused"),
    [
        ("4.3.6", [HOUR], "{}", False),
        ("4.3.6", [HOUR, None], "{}", True),
        ("4.3.6", [HOUR, None], "{time_limit: 1h}", False),
        ("4.0.9", [timedelta(minutes=29)], "{}", False),
        ("4.0.9", [HOUR], "{}", True),
        ("4.0.9", [HOUR], "{time_limit: 1h}", False),
        ("4.0.9", [HOUR], "{time_limit: 50m}", True),
        ("3.10.25", [HOUR], "{}", True),
        ("3.10.25", [HOUR], "{accept: [consumer-timeout]}", False),
        ("3.10.25", [None], "{}", False),
    ],
)
def test_a_hard_limit_that_the_broker_cannot_serve_is_refused(
    version: str, limits: list[timedelta | None], queue: str, refused: bool
) -> None:
    """Unless the worker may ask for a timeout of its own, and cuts nobody short by it."""
    spec = loads(f"version: 1\nqueues: {{q: {queue}}}\n", "topology.yaml", env={})
    said = unserved(compile_plan(spec, from_version(version)), {"q": limits, "elsewhere": [HOUR]})
    assert len(said) == refused
    assert all("longest hard_limit of 1h" in one and "set time_limit: 1h" in one for one in said)


def test_a_worker_asks_for_the_longest_hard_limit_and_a_little_more() -> None:
    """A little, for storing the ending; nothing where the queue has enough."""
    short, long = QueueSpec(name="q"), QueueSpec(name="q", time_limit=HOUR)
    assert asked_timeout(short, [HOUR, timedelta(1)]) == timedelta(days=1, minutes=1)
    assert asked_timeout(short, [timedelta(minutes=29)]) is None
    assert asked_timeout(long, [HOUR]) is None
    assert asked_timeout(short, []) is None
