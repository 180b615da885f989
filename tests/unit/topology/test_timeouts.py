"""A consumer timeout in effect that is not above the time limit is said with what to do."""

from __future__ import annotations

import pytest

from rabbitjobs.broker.version import from_version
from rabbitjobs.topology.config import loads
from rabbitjobs.topology.live import Live, LiveQueue
from rabbitjobs.topology.plan import compile_plan
from rabbitjobs.topology.timeouts import too_short


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
