"""With `results: {queued: true}` whoever has the id can see that a job waits."""

from __future__ import annotations

from pathlib import Path

import pytest

from rabbitjobs import RabbitJobs, Status

TOPOLOGY = "version: 1\nnamespace: shop\nqueues: {emails: {}}\n"


@pytest.mark.parametrize("queued", [True, False])
def test_the_status_of_a_waiting_job_for_others(
    queued: bool,
    broker_url: str,
    management_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The sender's own handle knows in any case; another process reads the store."""
    (tmp_path / "topology.yaml").write_text(TOPOLOGY)
    (tmp_path / "rabbitjobs.yaml").write_text(f"results: {{queued: {str(queued).lower()}}}\n")
    monkeypatch.setenv("RABBITJOBS_STORE_URL", f"sqlite:///{tmp_path / 'store.db'}")
    monkeypatch.setenv("RABBITJOBS_MANAGEMENT_URL", management_url)
    sender, reader = (RabbitJobs(config=tmp_path, url=broker_url) for _ in range(2))
    sender.apply()
    handle = sender.remote("confirm", queue="emails").send(1)
    assert handle.status() is Status.QUEUED
    sender.close()  # writes what waits
    assert reader.handle(handle.id).status() is (Status.QUEUED if queued else Status.UNKNOWN)
    reader.close()
