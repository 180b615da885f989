"""What cannot work is said at the start, with file and line, before any broker is asked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
JOBS = """
from datetime import timedelta
from rabbitjobs import RabbitJobs

app = RabbitJobs()


@app.job("mail", queue="emails")
def mail() -> None: ...
"""
TOPOLOGY = """version: 1
namespace: shop
queues:
  emails: {}
  intake: {}
"""


def said(folder: Path, *command: str, code: str = JOBS, topology: str = TOPOLOGY) -> str:
    """What a command prints that must fail at its start."""
    (folder / "jobs.py").write_text(code, encoding="utf-8")
    (folder / "config").mkdir(exist_ok=True)
    (folder / "config" / "topology.yaml").write_text(topology, encoding="utf-8")
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RABBITJOBS_")}
    ran = subprocess.run(
        [sys.executable, "-m", "rabbitjobs", *command],
        cwd=folder,
        # Nobody listens there: whoever asks the broker first fails with something else.
        env=kept
        | {
            "PYTHONPATH": str(ROOT),
            "RABBITJOBS_APP": "jobs:app",
            "RABBITJOBS_URL": "amqp://127.0.0.1:1/",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 1, ran.stderr
    assert "Traceback" not in ran.stderr
    return ran.stderr


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (("run", "emails", "emails"), "expected each queue once, got emails twice"),
        (("run", "emials"), "expected queues of the topology (emails, intake), got emials"),
        (
            ("run", "emails", "--processes", "intake=2"),
            "expected QUEUE=COUNT with a queue that is run (emails) and 1 or more, got 'intake=2'",
        ),
        (("run", "emails", "--processes", "emails=-1"), "and 1 or more, got 'emails=-1'"),
        (
            ("run", "emails", "--processes", "emails=2", "--processes", "emails=3"),
            "expected one --processes for queue emails, got a second: 'emails=3'",
        ),
        (
            ("run",),
            "topology.yaml:5: queues.intake: expected a name other than that of the process of "
            "the review intake (--no-intake here), got 'intake'",
        ),
        (
            ("consume", "emials"),
            "expected a queue of config/topology.yaml (emails, intake), got 'emials' "
            "(did you mean 'emails'?)",
        ),
    ],
)
def test_processes_that_cannot_be_told_apart_or_have_no_queue_are_refused(
    tmp_path: Path, command: tuple[str, ...], text: str
) -> None:
    """A name twice, a count of none, a queue that is not there."""
    assert text in said(tmp_path, *command)


def test_names_that_meet_by_their_counts_are_refused(tmp_path: Path) -> None:
    """Of a queue with two processes, and one that is called so."""
    topology = TOPOLOGY.replace("intake: {}", "emails 2: {}").replace(
        "emails: {}", "emails: {processes: 2}"
    )
    text = "topology.yaml:5: queues.emails 2: expected a name other than that of the process of "
    assert text + "queue 'emails', got 'emails 2'" in said(tmp_path, "run", topology=topology)


def test_every_fault_of_config_is_told_at_once(tmp_path: Path) -> None:
    """Negative limits and counts, with their lines."""
    topology = """version: 1
namespace: shop
queues:
  emails:
    processes: 0
    concurrency: -1
    time_limit: -5s
    children: -2
    max_jobs_per_child: -1
    max_memory_per_child: -1MiB
"""
    found = said(tmp_path, "consume", "emails", topology=topology)
    for line, key in (
        (5, "processes"),
        (6, "concurrency"),
        (7, "time_limit"),
        (8, "children"),
        (9, "max_jobs_per_child"),
        (10, "max_memory_per_child"),
    ):
        assert f"topology.yaml:{line}: queues.emails.{key}: expected " in found


def test_faults_of_jobs_are_told_with_their_lines(tmp_path: Path) -> None:
    """A queue and a pool that are not there: all at once."""
    code = JOBS + (
        '\n\n@app.job("one", queue="emials")\ndef one() -> None: ...\n'
        '\n\n@app.job("two", queue="emails", pool="proceses")\ndef two() -> None: ...\n'
    )
    found = said(tmp_path, "consume", "emails", code=code)
    assert "jobs.py:12: job one: expected a queue of config/topology.yaml (did you mean" in found
    assert "jobs.py:16: job two: expected a pool (asyncio, threads, processes, solo" in found


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        (
            "soft_limit=timedelta(seconds=-1)",
            "expected soft_limit above zero, got -1 day, 23:59:59",
        ),
        ("hard_limit=5", "expected hard_limit as a timedelta, got int"),
        ("pool=3", "expected pool as the name of one, got int"),
    ],
)
def test_an_option_of_a_job_that_makes_no_sense_is_told_with_its_line(
    tmp_path: Path, argument: str, text: str
) -> None:
    """When the app is imported."""
    code = JOBS.replace('queue="emails"', f'queue="emails", {argument}')
    assert f"jobs.py:8: {text}" in said(tmp_path, "consume", "emails", code=code)
