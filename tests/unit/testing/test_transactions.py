"""Sending inside the caller's own transaction."""

from __future__ import annotations

from pathlib import Path

import pytest

from rabbitjobs import JobHandle, RabbitJobs, Status
from rabbitjobs.store.outbox import Outbox
from rabbitjobs.testing.trial import Trial

pytest_plugins = ["rabbitjobs.testing.pytest_plugin"]

app = RabbitJobs("transactions")


@app.job("pay")
def pay(order: int) -> int:
    return order


@pytest.fixture
def rj_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RabbitJobs:
    """The app on trial, away from the config folder of this repository."""
    monkeypatch.chdir(tmp_path)
    return app


def test_a_send_is_promised_by_a_commit_only(rj: Trial) -> None:
    """A rollback leaves nothing; a commit leaves one row for the relay."""
    store = app.parts.store
    assert store is not None

    handles: list[JobHandle[int]] = []

    def promise_and_fail(connection: object) -> None:
        handles.append(pay.options(tx=connection).send(1))
        assert handles[0].status() is Status.QUEUED
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.run(promise_and_fail)
    handle = store.run(lambda connection: pay.options(tx=connection).send(2))
    (row,) = Outbox(store).take(10)
    assert row.envelope.id == handle.id
    assert handle.status() is Status.QUEUED
    assert handles[0].status() is Status.UNKNOWN
    rj.assert_not_sent(pay)
