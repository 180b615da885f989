"""The fixture ``rj`` on a real RabbitMQ, as a user's test run has it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
A_USERS_TEST = """
from datetime import timedelta

import pytest

from rabbitjobs import RabbitJobs

app = RabbitJobs("trial")


@app.job("double")
def double(number: int) -> int:
    return number * 2


@app.job("once-more")
async def once_more(number: int) -> int:
    return await double.asend(number) and number


@pytest.fixture
def rj_app():
    return app


def test_on_a_real_broker(rj):
    handle = once_more.options(delay=timedelta(seconds=1)).send(21)
    ended = rj.drain()
    # The second may have ended before the first has recorded its own end.
    assert sorted(event.job for event in ended) == ["double", "once-more"]
    assert handle.result(timeout=5) == 21
    rj.assert_sent(double, number=21)


def test_the_next_test_has_a_vhost_of_its_own(rj):
    assert rj.drain() == ()
"""


def test_a_users_tests_run_on_a_real_broker(
    broker_url: str, management_url: str, tmp_path: Path
) -> None:
    """Each test in a vhost of its own, which is gone afterwards; delays are waited for."""
    (tmp_path / "test_app.py").write_text(A_USERS_TEST)
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "RABBITJOBS_TEST_URL": broker_url,
        "RABBITJOBS_TEST_MANAGEMENT_URL": management_url,
    }
    plugin = ("-p", "no:rabbitjobs", "-p", "rabbitjobs.testing.pytest_plugin")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugin, "--rj-broker=real", "test_app.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "2 passed" in ran.stdout
