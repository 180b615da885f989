"""A person's ending writes what an attempt's own would, all of it or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rabbitjobs.backend.protocol import Status
from rabbitjobs.backend.sql import SqlBackend
from rabbitjobs.ending.by_hand import settle_by_hand
from rabbitjobs.ending.settlement import Keeping, Outcome
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.policy.decision import Decision, Failure
from rabbitjobs.store.engine import Store
from rabbitjobs.store.outbox import Outbox

HOOK = "https://hooks.example/done"
DISCARD = Decision(do="discard", rule="discarded by ann: too old")
FAILURE = Failure(kind="crash", error_type="broker.delivery_limit", error="again and again")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    store = Store(f"sqlite:///{tmp_path / 'store.db'}", namespace="shop")
    yield store
    store.close()


def end(store: Store, *, result: bytes | None = None, on_done: str | None = None) -> None:
    """End attempt 3 of a job with this result, or discard it; the row shows it as attempt 4."""
    envelope = Envelope(id="i", job="j", queue="q", body=b"{}", attempt=3, on_done=on_done)
    failure = None if result is not None else FAILURE
    outcome = Outcome(envelope=envelope, started=5e9, ended=5e9, result=result, failure=failure)
    decision = None if result is not None else DISCARD
    store.run(
        lambda connection: settle_by_hand(
            connection, "shop", outcome, decision, Keeping(keep=60.0), shown_as=4
        )
    )


@pytest.mark.parametrize(("result", "status"), [(b"7", Status.SUCCEEDED), (None, Status.FAILED)])
async def test_the_result_and_the_inbox_know_it(
    store: Store, result: bytes | None, status: Status
) -> None:
    """A reader sees it, and a copy of that message is a duplicate."""
    end(store, result=result)
    backend = SqlBackend(store)
    stored = backend.get("i")
    assert stored is not None
    assert (stored.status, stored.attempt, stored.result) == (status, 4, result)
    assert await backend.recorded("i", 3) is not None
    assert await backend.recorded("i", 4) is None
    assert Outbox(store).take() == []


def test_a_caller_who_asked_is_told_by_the_outbox(store: Store) -> None:
    """Nothing is published from inside a transaction."""
    end(store, on_done=HOOK)
    (row,) = Outbox(store).take()
    assert (row.envelope.id, row.envelope.attempt) == ("i", 3)
    assert (row.ended_as, row.ended) == ("failed", 5e9)
