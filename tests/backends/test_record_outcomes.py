"""Recording outcomes: once for each attempt, and never backwards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from rabbitjobs.backend.protocol import Record, Status, Stored
from rabbitjobs.backend.sql import SqlBackend
from rabbitjobs.clock import now, uuid7
from rabbitjobs.store.engine import Store

Outcome = Callable[..., Record]


async def test_a_recorded_outcome_can_be_read(backend: SqlBackend, outcome: Outcome) -> None:
    """The row holds what the ending wrote; the blocking and the async reader agree."""
    job = uuid7()
    assert await backend.record(outcome(job, result=b'{"sent":1}'))
    stored = await backend.aget(job)
    assert stored is not None
    assert (stored.status, stored.result, stored.attempt) == (Status.SUCCEEDED, b'{"sent":1}', 1)
    assert backend.get(job) == stored
    assert await backend.recorded(job, 1) == b""
    assert await backend.recorded(job, 2) is None


async def test_an_attempt_is_recorded_once(backend: SqlBackend, outcome: Outcome) -> None:
    """A second run of the same attempt is refused and changes nothing."""
    job = uuid7()
    assert await backend.record(outcome(job, result=b"1", ended=5.0, keep=1e12))
    assert not await backend.record(outcome(job, result=b"2", ended=6.0, keep=1e12))
    stored = backend.get(job)
    assert stored is not None
    assert stored.result == b"1"


async def test_two_runs_in_one_batch_are_told_apart(backend: SqlBackend, outcome: Outcome) -> None:
    """The batch itself may hold the same attempt twice: one of them wins."""
    job = uuid7()
    answers = await asyncio.gather(
        *(backend.record(outcome(job, result=b"%d" % n, ended=now() + n)) for n in range(20))
    )
    assert sum(answers) == 1
    stored = backend.get(job)
    assert stored is not None
    assert stored.result == b"%d" % answers.index(True)


async def test_the_same_record_again_is_no_duplicate(backend: SqlBackend, outcome: Outcome) -> None:
    """A commit whose answer was lost is tried again, and must not look like another's."""
    record = outcome(uuid7(), status=Status.RETRYING, decision=b"later")
    assert await backend.record(record)
    assert await backend.record(record)


async def test_another_namespace_is_another_world(
    store_url: str, backend: SqlBackend, outcome: Outcome
) -> None:
    """Two apps that share a database and choose the same job id do not meet."""
    other = Store(store_url, namespace=uuid7())
    assert await backend.record(outcome("order-17"))
    assert SqlBackend(other).get("order-17") is None
    assert await SqlBackend(other).record(outcome("order-17"))
    other.close()


@pytest.mark.parametrize("together", [True, False])
async def test_a_later_attempt_replaces_an_earlier_one(
    backend: SqlBackend, outcome: Outcome, together: bool
) -> None:
    """Whatever the order in which they come, in one batch or in two."""
    job = uuid7()
    records = [outcome(job, 2), outcome(job, 1, status=Status.RETRYING, decision=b"d")]
    if together:
        assert await asyncio.gather(*map(backend.record, records)) == [True, True]
    else:
        assert [await backend.record(record) for record in records] == [True, True]
    stored = backend.get(job)
    assert stored is not None
    assert (stored.status, stored.attempt) == (Status.SUCCEEDED, 2)
    assert await backend.recorded(job, 1) == b"d"


async def test_a_long_job_is_shown_running_with_its_progress(
    backend: SqlBackend, outcome: Outcome
) -> None:
    """Both are written behind; the newest progress wins; the outcome replaces them."""
    job = uuid7()
    backend.running(outcome(job, status=Status.RUNNING))
    backend.progress(job, b"1")
    backend.progress(job, b"2")
    stored = await _until(backend, job, lambda stored: stored.progress == b"2")
    assert stored.status is Status.RUNNING
    await backend.record(outcome(job, status=Status.FAILED))
    assert backend.get(job).status is Status.FAILED  # type: ignore[union-attr]


async def test_a_late_running_changes_no_end(
    store: Store, backend: SqlBackend, outcome: Outcome
) -> None:
    """Neither a final state nor a newer attempt is overwritten by what was written behind."""
    done, retried = uuid7(), uuid7()
    await backend.record(outcome(done))
    await backend.record(outcome(retried, 2, status=Status.RETRYING))
    backend.running(outcome(done, status=Status.RUNNING))
    backend.running(outcome(retried, status=Status.RUNNING))
    backend.mark_queued(done, job="j", queue="q", enqueued=1.0)
    last = uuid7()
    backend.running(outcome(last, status=Status.RUNNING))
    await _until(backend, last, lambda _: True)
    assert backend.get(done).status is Status.SUCCEEDED  # type: ignore[union-attr]
    assert backend.get(retried).status is Status.RETRYING  # type: ignore[union-attr]


async def test_a_queued_job_is_shown_until_it_runs(backend: SqlBackend, outcome: Outcome) -> None:
    """For publishers that track what they have sent."""
    job = uuid7()
    backend.mark_queued(job, job="shop.mail", queue="emails", enqueued=now())
    stored = await _until(backend, job, lambda _: True)
    assert (stored.status, stored.attempt) == (Status.QUEUED, 0)
    backend.running(outcome(job, status=Status.RUNNING))
    await _until(backend, job, lambda stored: stored.status is Status.RUNNING)


async def test_a_result_that_nobody_wants_leaves_nothing(
    store: Store, backend: SqlBackend, outcome: Outcome
) -> None:
    """``ignore_result``: no row for a success, but the end of what was seen failing is shown."""
    quiet, retried = uuid7(), uuid7()
    backend.running(outcome(quiet, keep_result=False, status=Status.RUNNING))
    assert await backend.record(outcome(quiet, keep_result=False, result=b"1"))
    assert backend.get(quiet) is None
    assert await backend.recorded(quiet, 1) is None
    await backend.record(outcome(retried, 1, keep_result=False, status=Status.RETRYING))
    await backend.record(outcome(retried, 2, keep_result=False, result=b"1"))
    stored = backend.get(retried)
    assert stored is not None
    assert (stored.status, stored.result) == (Status.SUCCEEDED, None)


async def test_any_text_can_be_recorded(backend: SqlBackend, outcome: Outcome) -> None:
    """NUL and lone surrogates, which databases refuse, must not leave a job without an end."""
    job = "bestellung-\0-\ud800-주문"
    record = outcome(job, status=Status.FAILED, error="a\0b\udfff", traceback="\0", worker="\0")
    assert await backend.record(record)
    stored = await backend.aget(job)
    assert stored is not None
    assert stored.error == "a\\x00b\\udfff"
    assert await backend.recorded(job, 1) == b""


async def test_results_expire(backend: SqlBackend, outcome: Outcome) -> None:
    """An expired row is not shown any more, and ``clean`` deletes it in small transactions."""
    old, young = [uuid7() for _ in range(25)], uuid7()
    await asyncio.gather(*(backend.record(outcome(job, keep=-1.0)) for job in old))
    await backend.record(outcome(young))
    assert backend.get(old[0]) is None
    assert backend.clean(batch=10).results >= 25
    assert backend.get(young) is not None
    assert backend.clean().results == 0


async def test_the_inbox_is_kept_for_a_week(backend: SqlBackend, outcome: Outcome) -> None:
    """A result may expire at once; the deduplication key lives on."""
    job, at = uuid7(), now()
    await backend.record(outcome(job, keep=0.0))
    backend.clean(at + 6 * 86400)
    assert await backend.recorded(job, 1) == b""
    backend.clean(at + 8 * 86400)
    assert await backend.recorded(job, 1) is None


async def test_what_is_in_review_does_not_expire(backend: SqlBackend, outcome: Outcome) -> None:
    """It waits for a person, however long that takes."""
    job = uuid7()
    await backend.record(outcome(job, status=Status.IN_REVIEW, keep=1.0))
    backend.clean(now() + 1000 * 86400)
    assert backend.get(job) is not None


async def test_a_unique_key_has_one_holder(backend: SqlBackend, outcome: Outcome) -> None:
    """Until its job has ended, its time is over, or it is given back."""
    key, first, second = uuid7(), uuid7(), uuid7()
    assert backend.claim_unique(key, first, now() + 0.001) is None
    backend.keep_unique(key, first, now() + 60)
    assert backend.claim_unique(key, first, now() + 60) is None
    assert backend.claim_unique(key, second, now() + 60) == first
    await backend.record(outcome(first, 1, status=Status.RETRYING, unique=key))
    assert backend.claim_unique(key, second, now() + 60) == first
    await backend.record(outcome(first, 2, unique=key))
    backend.keep_unique(key, first, now() + 60)  # too late: its job has ended
    assert backend.claim_unique(key, second, now() - 1) is None
    assert backend.claim_unique(key, first, now() + 60) is None
    backend.free_unique(key, second)
    assert backend.claim_unique(key, second, now() + 60) == first
    backend.free_unique(key, first)
    assert backend.claim_unique(key, second, now() + 60) is None


async def test_unique_keys_past_their_time_are_swept(backend: SqlBackend) -> None:
    """A job that never ended holds its key no longer than it asked for."""
    backend.claim_unique(uuid7(), uuid7(), 5.0)
    assert backend.clean(6.0).unique >= 1


async def _until(backend: SqlBackend, job: str, seen: Callable[[Stored], object]) -> Stored:
    """Wait for what is written behind; it has no waiter, so this looks again and again."""
    async with asyncio.timeout(60):
        while (stored := backend.get(job)) is None or not seen(stored):
            await asyncio.sleep(0.02)
    return stored
