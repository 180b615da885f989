"""A job that needs approval and its worker: one without a store has nobody to ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from rabbitjobs import RabbitJobs
from rabbitjobs.app.roles import ConsumeRole
from rabbitjobs.errors import WorkerError


def test_a_worker_without_a_store_does_not_start_with_a_gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could only put its jobs on a desk that it cannot hear; other jobs run without."""
    monkeypatch.setenv("RABBITJOBS_STORE_URL", "none")
    monkeypatch.setenv("RABBITJOBS_URL", "amqp://127.0.0.1:1")
    monkeypatch.chdir(tmp_path)
    app = RabbitJobs()
    app.job("plain")(lambda: None)
    try:
        ConsumeRole(app, "default")
        app.job("gated", needs_approval=True)(lambda: None)
        with pytest.raises(WorkerError, match="store for gated, which needs approval"):
            ConsumeRole(app, "default")
    finally:
        app.close()
