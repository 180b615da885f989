"""The recorder against a model: any order of runs, retries, repeats and late news."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rabbitjobs.backend.protocol import Record, Status
from rabbitjobs.backend.sql import SqlBackend
from rabbitjobs.clock import uuid7
from rabbitjobs.store.engine import Store

OUTCOMES = [
    Status.SUCCEEDED,
    Status.FAILED,
    Status.IGNORED,
    Status.RETRYING,
    Status.IN_REVIEW,
    Status.QUARANTINED,
]
STEP = st.tuples(
    st.sampled_from(["record", "running", "queued"]),
    st.integers(0, 2),
    st.integers(1, 4),
    st.sampled_from(OUTCOMES),
)
Step = tuple[str, int, int, Status]


class Model:
    """What the store must hold, in plain Python."""

    def __init__(self) -> None:
        self.inbox: dict[tuple[int, int], int] = {}
        self.rows: dict[int, tuple[int, Status]] = {}

    def record(self, job: int, attempt: int, status: Status, number: int) -> bool:
        """An outcome: once for an attempt; shown unless an equal or later end is known."""
        if (job, attempt) in self.inbox:
            return False
        self.inbox[job, attempt] = number
        known, shown = self.rows.get(job, (-1, Status.QUEUED))
        if attempt > known or (attempt == known and not shown.final):
            self.rows[job] = (attempt, status)
        return True

    def running(self, job: int, attempt: int) -> None:
        """A start: shown unless something as new, or final, is known."""
        known, shown = self.rows.get(job, (-1, Status.QUEUED))
        fresh = attempt > known or (attempt == known and shown is Status.QUEUED)
        if fresh and not shown.final:
            self.rows[job] = (attempt, Status.RUNNING)

    def queued(self, job: int) -> None:
        """A send: shown while nothing is known."""
        self.rows.setdefault(job, (0, Status.QUEUED))


@pytest.mark.parametrize("together", [True, False])
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(STEP, max_size=25))
def test_the_store_holds_what_the_model_holds(
    store: Store, outcome: Callable[..., Record], together: bool, steps: Sequence[Step]
) -> None:
    """In one batch or one by one: the answers, the rows and the inbox agree."""
    backend, model, prefix = SqlBackend(store), Model(), uuid7()
    calls = [
        (kind, outcome(f"{prefix}-{job}", attempt, status=status, ended=float(n), keep=1e12,
                       decision=b"%d" % n))
        for n, (kind, job, attempt, status) in enumerate(steps)
    ]  # fmt: skip
    writes = {
        "record": backend._write_outcomes,
        "running": backend._write_running,
        "queued": backend._write_queued,
    }
    if together:  # bulk work is grouped by kind, so the order between kinds is the lane's
        steps = sorted(steps, key=lambda step: [s[0] for s in steps].index(step[0]))
        numbers = sorted(range(len(calls)), key=lambda n: [c[0] for c in calls].index(calls[n][0]))
        calls = [calls[n] for n in numbers]
        futures = _at_once(store, [(writes[kind], _as(kind, record)) for kind, record in calls])
    else:
        numbers = list(range(len(calls)))
        futures = [
            store.write(writes[kind], _as(kind, record)).result(60)  # type: ignore[arg-type]
            for kind, record in calls
        ]
    for (kind, job, attempt, status), answer, number in zip(steps, futures, numbers, strict=True):
        if kind == "record":
            assert answer is model.record(job, attempt, status, number)
        elif kind == "running":
            model.running(job, attempt)
        else:
            model.queued(job)
    for job in range(3):
        stored = backend.get(f"{prefix}-{job}")
        assert (stored and (stored.attempt, stored.status)) == model.rows.get(job)
    decisions = store.read(
        lambda c: backend._fetch_decisions(
            c, [(f"{prefix}-{job}", attempt) for job in range(3) for attempt in range(1, 5)]
        )
    )
    expected = [model.inbox.get((job, attempt)) for job in range(3) for attempt in range(1, 5)]
    assert decisions == [None if n is None else b"%d" % n for n in expected]


def _as(kind: str, record: Record) -> Record:
    import msgspec

    if kind == "running":
        return msgspec.structs.replace(record, status=Status.RUNNING)
    if kind == "queued":
        return msgspec.structs.replace(record, status=Status.QUEUED, attempt=0)
    return record


def _at_once(store: Store, calls: Sequence[tuple[Callable[..., object], Record]]) -> list[object]:
    import threading

    go, entered = threading.Event(), threading.Event()

    def hold(_connection: object) -> None:
        entered.set()
        go.wait(60)

    store.submit(hold)
    assert entered.wait(60)
    futures: list[Any] = [store.write(write, record) for write, record in calls]  # type: ignore[arg-type]
    go.set()
    return [future.result(60) for future in futures]
