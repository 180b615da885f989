"""The way back out of quarantine and undeliverable, by the command that the guide names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.docs.reader import ROOT, Reader, end

OLD = "from rabbitjobs import RabbitJobs\napp = RabbitJobs()\n"
NEW = OLD + '@app.job("renamed", queue="one")\ndef renamed(n: int) -> int:\n    return n\n'
UNREADABLE = """
import os, pika
with pika.BlockingConnection(pika.URLParameters(os.environ["RABBITJOBS_URL"])) as connection:
    channel = connection.channel()
    channel.confirm_delivery()
    for properties, body in (
        (pika.BasicProperties(headers={"x-rj-queue": "one"}), b"nothing"),
        (pika.BasicProperties(type="renamed", message_id="a", headers={
            "x-rj-v": 1, "x-rj-id": "job-1", "x-rj-attempt": 4, "x-rj-queue": "one",
            "x-rj-failure": '{"kind":"unknown-job","error_type":"unknown-job","error":"no"}',
        }), b'{"args":[7],"kwargs":{}}'),
    ):
        channel.basic_publish("rabbitjobs.fail", "quarantine", body, properties, mandatory=True)
"""


@pytest.fixture
def team(broker_url: str, management_url: str, tmp_path: Path) -> Reader:
    """A folder with an app, and an environment with a vhost and a store of its own."""
    (tmp_path / "jobs.py").write_text(NEW)
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RABBITJOBS_")}
    own = {
        "PYTHONPATH": str(ROOT),
        "RABBITJOBS_APP": "jobs:app",
        "RABBITJOBS_URL": broker_url,
        "RABBITJOBS_MANAGEMENT_URL": management_url,
        "RABBITJOBS_STORE_URL": f"sqlite:///{tmp_path / 'store.db'}",
    }
    return Reader(tmp_path, kept | own)


def test_a_quarantined_job_runs_after_it_was_put_back(team: Reader) -> None:
    """As its next attempt; what cannot be read stays where it is."""
    team.python("-m", "rabbitjobs", "topology", "apply")
    team.python("-c", UNREADABLE)
    said = team.python("-m", "rabbitjobs", "queue", "put-back", "quarantine")
    wanted = "sent again; 1 cannot be read and stay; 0 not looked at"
    assert f"1 jobs of rabbitjobs.quarantine {wanted}" in said
    worker = team.start("-m", "rabbitjobs", "consume", "one")
    try:
        told = team.python("-m", "rabbitjobs", "result", "job-1", "--wait", "30s")
    finally:
        assert end(worker) == 0, team.log()
    assert "attempt:     5" in told and "result:      7" in told
    again = team.python("-m", "rabbitjobs", "queue", "put-back", "quarantine")
    assert f"0 jobs of rabbitjobs.quarantine {wanted}" in again
