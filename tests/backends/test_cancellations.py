"""Cancellations in the store: a log that holds until none of its jobs can come any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from rabbitjobs.backend.ended_rows import DROPPED_SECONDS
from rabbitjobs.backend.protocol import Record, Status
from rabbitjobs.backend.sql import SqlBackend
from rabbitjobs.clock import now, uuid7
from rabbitjobs.control.cancelling import KEPT_SECONDS, Canceller
from rabbitjobs.review.case import Case
from rabbitjobs.review.desk import Desk
from rabbitjobs.store import cancellations
from rabbitjobs.store.cancellations import OVERLAP, Cancellation, Glance
from rabbitjobs.store.engine import Store
from rabbitjobs.store.sqlite_file import plain_path
from rabbitjobs.topology.names import LONGEST


@pytest.fixture
def canceller(store: Store) -> Canceller:
    """Who tells no worker."""
    return Canceller(lambda: store, lambda: None)


def held(store: Store, number: int = 0, at: float | None = None) -> tuple[Cancellation, ...]:
    """What a worker reads."""
    moment = now() if at is None else at
    return store.read(
        lambda one: cancellations.since(one, store.namespace, number + OVERLAP, moment)
    )


def test_ids_and_tags_are_written_with_who_and_why(store: Store, canceller: Canceller) -> None:
    """Several at once, in one transaction; whatever signs are in them."""
    canceller.cancel(["b", "a", "a"], who="ann", why="moved\0away", grace=timedelta(seconds=2))
    canceller.cancel((), tag="order 7\ud800")
    found = held(store, -OVERLAP)
    assert [(one.kind, one.value) for one in found] == [
        ("id", "a"),
        ("id", "b"),
        ("tag", "order 7\\ud800"),
    ]
    assert (found[0].who, found[0].why, found[0].grace) == ("ann", "moved\\x00away", 2.0)
    assert "@" in found[2].who and found[2].grace == 10.0


def test_a_reader_asks_for_what_is_new_and_a_little_before(
    store: Store, canceller: Canceller
) -> None:
    """Two that were written at once may be committed in another order."""
    canceller.cancel(["a"])
    (first,) = held(store, -OVERLAP)
    canceller.cancel(["b"])
    assert [one.value for one in held(store, first.number)] == ["b"]
    read = store.read(lambda one: cancellations.since(one, store.namespace, first.number, now()))
    assert [one.value for one in read] == ["a", "b"]


def test_a_tag_that_is_cancelled_again_holds_from_then_on(
    store: Store, canceller: Canceller
) -> None:
    """One row, and a new number: readers see it."""
    canceller.cancel((), tag="t")
    (first,) = held(store, -OVERLAP)
    canceller.cancel((), tag="t")
    (second,) = held(store, first.number)
    assert second.number > first.number and second.at >= first.at
    assert len(held(store, -OVERLAP)) == 1


def test_it_holds_longer_than_the_longest_delay(store: Store, canceller: Canceller) -> None:
    """The sweep leaves it until then."""
    canceller.cancel(["a"])
    later = now() + LONGEST.total_seconds() + 86400
    assert LONGEST.total_seconds() < KEPT_SECONDS
    assert SqlBackend(store).clean(later).cancelled == 0
    assert len(held(store, -OVERLAP, later)) == 1
    # Those of other tests may be in the same database.
    assert SqlBackend(store).clean(now() + KEPT_SECONDS + 1).cancelled >= 1
    assert held(store, -OVERLAP) == ()


async def test_once_the_job_was_dropped_it_goes_with_the_inbox(
    store: Store,
    backend: SqlBackend,
    canceller: Canceller,
    outcome: Callable[..., Record],
) -> None:
    """Its unique key is free; another ending of another job leaves its cancellation alone."""
    job, other = uuid7(), uuid7()
    canceller.cancel([job, other])
    assert backend.claim_unique("k", job, now() + 1000) is None
    await backend.record(outcome(job, status=Status.CANCELLED, unique="k", decision=b"x"))
    await backend.record(outcome(other, status=Status.RETRYING, decision=b"x"))
    assert backend.claim_unique("k", uuid7(), now() + 1000) is None
    later = now() + DROPPED_SECONDS + 10
    assert len(held(store, -OVERLAP)) == 2
    assert [one.value for one in held(store, -OVERLAP, later)] == [other]
    assert backend.clean(later).cancelled == 1


def test_another_namespace_has_its_own(store_url: str, store: Store, canceller: Canceller) -> None:
    canceller.cancel(["a"])
    neighbour = Store(store_url, namespace=uuid7())
    assert held(neighbour, -OVERLAP) == ()
    neighbour.close()


@pytest.fixture
def glance(tmp_path: Path) -> Iterator[tuple[Glance, Store]]:
    """A SQLite store, and a reader of its file without SQLAlchemy."""
    store = Store(f"sqlite:///{tmp_path / 'glance.db'}", namespace="shop")
    path = plain_path(f"sqlite:///{tmp_path / 'glance.db'}")
    assert path is not None
    found = Glance(path, "shop")
    yield found, store
    found.close()
    store.close()


def test_a_glance_at_the_file_sees_the_same(glance: tuple[Glance, Store]) -> None:
    """Again and again over one connection, while others write."""
    reader, store = glance
    canceller = Canceller(lambda: store, lambda: None)
    for number in range(3):
        canceller.cancel([f"i{number}"])
        assert reader.since(0, now()) == held(store, -OVERLAP)


async def test_a_released_job_that_was_cancelled_closes_its_case(
    backend: SqlBackend, desk: Desk, case: Case, outcome: Callable[..., Record]
) -> None:
    """As every other end of it does; the desk says how it ended."""
    released = desk.retry(case.id, who="ann", version=1)
    marks = {"case": released.id, "release": released.release_id}
    await backend.record(
        outcome(str(case.job_id), 4, status=Status.CANCELLED, decision=b"x", **marks)
    )
    closed = desk.get(case.id)
    assert (closed.state, closed.outcome) == ("closed", "cancelled after release")
