"""The gate of a queue: none where nothing is limited, refused where the fleet shares no store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rabbitjobs import RabbitJobs
from rabbitjobs.app.limits import Limits, limits_of
from rabbitjobs.consumer.limits.gate import Gate
from rabbitjobs.errors import ControlRefused, RegistrationError, WorkerError
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


def limits(app: RabbitJobs) -> Limits:
    """Of its only queue."""
    queue = app.spec.queues["default"]
    return limits_of(app, queue, nobody_puts_off, away=lambda _reason: None)


def test_a_rate_is_set_where_there_was_none(tmp_path: Path) -> None:
    """Of the queue, or of one job beside it; there is a gate from then on, with room."""
    app = app_with(tmp_path, "{concurrency: 4}")
    app.job("plain")(lambda: None)
    found = limits(app)
    assert found.gate is None
    change = found.set_rate("10/s", None)
    assert (str(change.rate), change.before) == ("10/s", None)
    assert change.gate is found.gate and change.gate.room(4) == 10
    plain = app.registry.get("plain")
    assert [one.what for one in change.gate._limits_of(plain)] == ["rate of queue default: 10/s"]
    again = found.set_rate("60/m", "plain")
    assert again.gate is change.gate
    assert [one.what for one in change.gate._limits_of(plain)] == [
        "rate of queue default: 10/s",
        "rate of job plain: 60/m",
    ]


def test_a_rate_that_is_replaced_keeps_its_scope(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And its line: starts that are in hand are used."""
    monkeypatch.setenv("RABBITJOBS_STORE_URL", "none")
    app = app_with(tmp_path, "{rate: {limit: 5/s, scope: process}}")
    app.job("limited", rate=rate("1/s", scope="process"))(lambda: None)
    found = limits(app)
    limited = app.registry.get("limited")
    before = found.make_gate()._limits_of(limited)
    assert str(found.set_rate("7/s", None).rate) == "7/s in each process"
    change = found.set_rate("2/s", "limited")
    assert (str(change.rate), str(change.before)) == (
        "2/s in each process",
        "1/s in each process",
    )
    assert change.gate._limits_of(limited) == before
    assert [str(one.rate) for one in before] == ["7/s in each process", "2/s in each process"]


@pytest.mark.parametrize(
    ("queue", "rate", "job", "said"),
    [
        ("{ordered: true}", "5/s", None, "got an ordered queue"),
        ("{}", "5", None, "expected a rate such as"),
        ("{}", "5/s", "nothing", "expected a job that is known here, got 'nothing'"),
        ("{}", "5/s", None, "expected a store for a rate that the fleet shares"),
    ],
)
def test_a_rate_that_cannot_be_kept_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    queue: str,
    rate: str,
    job: str | None,
    said: str,
) -> None:
    """And changes nothing."""
    monkeypatch.setenv("RABBITJOBS_STORE_URL", "none")
    found = limits(app_with(tmp_path, queue))
    with pytest.raises(ControlRefused, match=said):
        found.set_rate(rate, job)
    assert found.gate is None


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
