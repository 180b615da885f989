"""Processes as users start them: supervised, restarted, ended in order; reloaded in development."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.docs.reader import ROOT, Reader, end

JOBS = """
import os, signal
from rabbitjobs import Context, RabbitJobs

app = RabbitJobs()


@app.job(queue="one")
def whoami() -> int:
    return os.getpid()


@app.job(queue="two")
def die_once(ctx: Context) -> str:
    marker = f"died-{ctx.job_id}"
    if not os.path.exists(marker):
        open(marker, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"
"""


@pytest.fixture
def team(broker_url: str, management_url: str, tmp_path: Path) -> Reader:
    """A folder with an app, and an environment with a vhost and a store of its own."""
    (tmp_path / "jobs.py").write_text(JOBS)
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RABBITJOBS_")}
    return Reader(
        tmp_path,
        kept
        | {
            "PYTHONPATH": str(ROOT),
            "RABBITJOBS_APP": "jobs:app",
            "RABBITJOBS_URL": broker_url,
            "RABBITJOBS_MANAGEMENT_URL": management_url,
            "RABBITJOBS_STORE_URL": f"sqlite:///{tmp_path / 'store.db'}",
        },
    )


@pytest.fixture
def run(team: Reader) -> Iterator[subprocess.Popen[bytes]]:
    """``rabbitjobs run`` with one process for each queue, all of them consuming."""
    process = team.start("-m", "rabbitjobs", "run", "--apply")
    until(lambda: team.log().count("healthy: consuming") == 4, team, process)
    yield process
    if process.poll() is None:
        process.kill()
        process.wait()


def until(done: Callable[[], bool], team: Reader, process: subprocess.Popen[bytes]) -> None:
    """Return once ``done``; fail with the log when the process ends or a minute is over."""
    deadline = time.monotonic() + 60
    while not done():
        assert process.poll() is None, team.log()
        assert time.monotonic() < deadline, team.log()
        time.sleep(0.05)


def send(team: Reader, job: str) -> str:
    """Send from the shell and wait; returns what is printed as the result."""
    said = team.python("-m", "rabbitjobs", "send", job, "--wait", "30s")
    return said.splitlines()[-1]


def gone(pid: int) -> bool:
    """Whether a process is no more (or a zombie that nobody has fetched)."""
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:  # not there, or it ended between opening and reading
        return True


def test_a_killed_worker_is_started_again_and_its_job_runs(
    team: Reader, run: subprocess.Popen[bytes]
) -> None:
    """Its job is delivered again, to the next one; the other queue goes on."""
    first = send(team, "jobs.whoami")
    assert send(team, "jobs.die_once") == '"alive"'
    assert "signal SIGKILL" in team.log()
    assert send(team, "jobs.whoami") == first
    assert end(run) == 0, team.log()
    assert gone(int(first))


def test_workers_end_when_their_supervisor_is_killed(
    team: Reader, run: subprocess.Popen[bytes]
) -> None:
    """A second `run` must not double workers that nobody supervises any more."""
    worker = int(send(team, "jobs.whoami"))
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    deadline = time.monotonic() + 40
    while not gone(worker):
        assert time.monotonic() < deadline, team.log()
        time.sleep(0.05)
    assert "the supervisor is gone: stopping" in team.log()


def test_events_are_seen_live(team: Reader, run: subprocess.Popen[bytes]) -> None:
    """One line of JSON for each, from every worker, while they happen."""
    events = subprocess.Popen(
        [sys.executable, "-m", "rabbitjobs", "events", "--json", "--count", "2"],
        cwd=team.folder, env=team.environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert events.stderr is not None
    assert "watching" in events.stderr.readline()
    send(team, "jobs.whoami")
    seen = [json.loads(line) for line in events.communicate(timeout=30)[0].splitlines()]
    assert [one["event"] for one in seen] == ["JobStarted", "JobSucceeded"]
    assert {one["job"] for one in seen} == {"jobs.whoami"}
    assert end(run) == 0, team.log()


def test_dev_starts_anew_when_a_file_changes(team: Reader) -> None:
    """The next job runs by the new code."""
    process = team.start("-m", "rabbitjobs", "dev")
    until(lambda: team.log().count("healthy: consuming") == 4, team, process)
    before = send(team, "jobs.whoami")
    code = team.folder / "jobs.py"
    code.write_text(re.sub(r"return os.getpid\(\)", "return -os.getpid()", code.read_text()))
    until(lambda: team.log().count("healthy: consuming") >= 8, team, process)
    after = send(team, "jobs.whoami")
    assert after.startswith("-") and after != f"-{before}"
    assert end(process) == 0, team.log()


def test_dev_goes_on_when_its_worker_is_killed(team: Reader) -> None:
    """It says so and starts anew, without a change."""
    process = team.start("-m", "rabbitjobs", "dev")
    until(lambda: team.log().count("healthy: consuming") == 4, team, process)
    os.kill(int(send(team, "jobs.whoami")), signal.SIGKILL)
    until(lambda: team.log().count("healthy: consuming") >= 8, team, process)
    assert "signal SIGKILL" in team.log()
    assert int(send(team, "jobs.whoami")) > 0
    assert end(process) == 0, team.log()


def test_the_log_says_what_became_of_each_job(team: Reader) -> None:
    """One that is abandoned at a sharp stop is named, with its id; it runs again later."""
    (team.folder / "jobs.py").write_text(
        JOBS
        + "\n\n@app.job(queue='one')\ndef slow() -> None:\n    import time\n    time.sleep(60)\n"
    )
    team.python("-m", "rabbitjobs", "topology", "apply")
    process = team.start("-m", "rabbitjobs", "--log-level", "debug", "consume", "one")
    until(lambda: "healthy: consuming" in team.log(), team, process)
    job_id = team.python("-m", "rabbitjobs", "send", "slow").strip()
    until(lambda: "job started" in team.log(), team, process)
    process.terminate()
    until(lambda: "worker stopping" in team.log(), team, process)
    assert end(process) == 0, team.log()
    (line,) = [line for line in team.log().splitlines() if "job abandoned" in line]
    assert job_id in line


def test_a_topology_that_is_not_applied_is_said_once(team: Reader) -> None:
    """Before any process is started: each would end by it again and again."""
    ran = subprocess.run(
        [sys.executable, "-m", "rabbitjobs", "run"],
        cwd=team.folder, env=team.environment, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert ran.returncode == 1
    assert ran.stderr.count("run `rabbitjobs topology plan`, then `apply`") == 1
