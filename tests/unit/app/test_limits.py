"""The gate of a queue: none where nothing is limited, refused where the fleet shares no store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rabbitjobs import RabbitJobs
from rabbitjobs.app.limits import limits_of
from rabbitjobs.consumer.limits.gate import Gate
from rabbitjobs.errors import RegistrationError, WorkerError
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.policy.rate import rate


async def nobody_puts_off(_envelope: Envelope, _delay: float, _limit: str) -> None:
    """Nothing comes that far here."""


def app_with(folder: Path, queue: str) -> RabbitJobs:
    """An app whose queue ``default`` says this."""
    (folder / "topology.yaml").write_text(f"version: 1\nqueues:\n  default: {queue}\n")
    return RabbitJobs(config=folder)


def gate(app: RabbitJobs) -> Gate | None:
    """Of its only queue."""
    queue = app.spec.queues["default"]
    return limits_of(app, queue, nobody_puts_off, away=lambda _reason: None).gate


def test_where_nothing_is_limited_there_is_no_gate(tmp_path: Path) -> None:
    """And no message pays for one."""
    app = app_with(tmp_path, "{concurrency: 4}")
    app.job("plain")(lambda: None)
    assert gate(app) is None


def test_jobs_with_a_limit_get_room_to_wait_beside_the_slots(tmp_path: Path) -> None:
    """As many again, and ten at least; none where no such job is of the queue."""
    app = app_with(tmp_path, "{concurrency: 4}")
    app.job("elsewhere", queue="other", rate="1/s")(lambda: None)
    found = gate(app)
    assert found is not None and found.room(4) == 0
    app.job("here", rate="1/s")(lambda: None)
    found = gate(app)
    assert found is not None and (found.room(4), found.room(40)) == (10, 40)


@pytest.mark.parametrize(
    ("queue", "limits", "said"),
    [
        ("{rate: 5/s}", {}, "topology.yaml:3: expected a store for the rate of queue default"),
        ("{}", {"rate": "5/s"}, "expected a store for the rate of job limited"),
        ("{}", {"concurrency_key": "k"}, "expected a store for the concurrency key of job limited"),
    ],
)
def test_what_the_fleet_shares_needs_a_store(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    queue: str,
    limits: dict[str, Any],
    said: str,
) -> None:
    """Told at start, with the place."""
    monkeypatch.setenv("RABBITJOBS_STORE_URL", "none")
    app = app_with(tmp_path, queue)
    app.job("limited", **limits)(lambda: None)
    with pytest.raises(WorkerError, match=said):
        gate(app)


@pytest.mark.parametrize("limits", [{"rate": "5/s"}, {"concurrency_key": "k"}])
def test_a_job_of_an_ordered_queue_has_no_limit(tmp_path: Path, limits: dict[str, Any]) -> None:
    """What waits would lose its place; jobs of other queues may have one."""
    app = app_with(tmp_path, "{ordered: true}")
    app.job("elsewhere", queue="other", **limits)(lambda: None)
    assert gate(app) is not None
    app.job("limited", **limits)(lambda: None)
    with pytest.raises(WorkerError, match="on the ordered queue default"):
        gate(app)


def test_a_rate_of_each_process_needs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither of a queue nor of a job."""
    monkeypatch.setenv("RABBITJOBS_STORE_URL", "none")
    app = app_with(tmp_path, "{rate: {limit: 5/s, scope: process}}")
    app.job("limited", rate=rate("1/s", scope="process"))(lambda: None)
    assert gate(app) is not None


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"rate": "5"}, "expected a rate such as 100/s"),
        ({"concurrency_key": "{who}"}, "expected plain names of the job's parameters"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused_with_the_job(
    tmp_path: Path, limits: dict[str, Any], said: str
) -> None:
    """When it is registered."""
    app = app_with(tmp_path, "{}")
    with pytest.raises(RegistrationError, match=said):
        app.job("limited", **limits)(lambda: None)
