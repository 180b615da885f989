"""Who cancels tells the workers, if its account may; it is stored either way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rabbitjobs import RabbitJobs
from rabbitjobs.errors import CancelRefused, StoreError, SyncInAsync
from rabbitjobs.job.handle import JobHandle
from rabbitjobs.store import cancellations
from rabbitjobs.wire.protocol import Outcome, Outgoing, Rejected, Unknown

NEVER = "amqp://guest:guest@127.0.0.1:1/"


class Session:
    """Connections that answer each publish in one way."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.sent: list[str] = []

    def publish(self, message: Outgoing, _timeout: float, done: Callable[[Outcome], None]) -> None:
        """See ``Session``."""
        self.sent.append(message.exchange)
        done(self.outcome)

    def close(self) -> None:
        """Nothing is open."""


def told(app: RabbitJobs, monkeypatch: pytest.MonkeyPatch, outcome: Outcome) -> list[str]:
    """What was published by two cancellations."""
    session: Any = Session(outcome)
    monkeypatch.setattr(app.parts, "session", lambda: session)
    app.cancel("a")
    JobHandle[Any]("b", canceller=lambda: app.parts.canceller).cancel("why", who="ann")
    store = app.parts.store
    assert store is not None
    with store._mine()._reader.begin() as connection:
        found = cancellations.since(connection, store.namespace, 0, 0.0)
    assert [(one.value, one.why) for one in found] == [("a", ""), ("b", "why")]
    sent: list[str] = session.sent
    return sent


@pytest.mark.parametrize(
    ("outcome", "times"),
    [
        (Rejected("unroutable", "no worker is there"), 2),
        (Unknown("no confirm"), 2),
        (Rejected("refused", "ACCESS_REFUSED", 403), 1),
    ],
)
def test_an_account_that_may_not_tell_them_tries_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome: Outcome, times: int
) -> None:
    """Each try closes the channel that its jobs are sent by."""
    app = RabbitJobs("shop", config=_config(tmp_path), url=NEVER)
    with app.overridden(url=NEVER, store_url=f"sqlite:///{tmp_path / 'store.db'}"):
        assert told(app, monkeypatch, outcome) == ["shop.control"] * times


def test_without_a_broker_it_is_stored_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers read it by themselves."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("RABBITJOBS_STORE_URL", f"sqlite:///{tmp_path / 'store.db'}")
    app = RabbitJobs("shop", config=_config(tmp_path))
    app.cancel("a")
    app.close()
    assert (tmp_path / "store.db").exists()


def test_without_a_store_nothing_can_be_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor can a job whose send was refused."""
    monkeypatch.setenv("RABBITJOBS_STORE_URL", "none")
    app = RabbitJobs("shop", config=_config(tmp_path), url=NEVER)
    with pytest.raises(StoreError, match="expected a store for cancel"):
        app.handle("a").cancel()
    with pytest.raises(CancelRefused, match="whose send was refused"):
        JobHandle[Any]("a").cancel()


async def test_inside_a_loop_it_must_be_awaited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with every blocking call."""
    monkeypatch.setenv("RABBITJOBS_STORE_URL", f"sqlite:///{tmp_path / 'store.db'}")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    app = RabbitJobs("shop", config=_config(tmp_path))
    with pytest.raises(SyncInAsync):
        app.cancel("a")
    with pytest.raises(SyncInAsync):
        app.handle("a").cancel()
    await app.acancel(tag="t")
    await app.handle("a").acancel()
    app.close()


def _config(folder: Path) -> Path:
    found = folder / "config"
    found.mkdir()
    (found / "topology.yaml").write_text("version: 1\nnamespace: shop\nqueues: {q: {}}\n")
    return found
