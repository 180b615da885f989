"""One message: run, recorded, then acked; retries, unknown jobs, twins."""

from __future__ import annotations

from functools import partial

from rabbitjobs import events
from rabbitjobs.backend.protocol import Status
from rabbitjobs.clock import now
from rabbitjobs.consumer.context import Context
from rabbitjobs.consumer.rulebook import rule_book
from rabbitjobs.job.definition import define
from rabbitjobs.job.signals import Ignore, Retry
from rabbitjobs.message import headers as h
from rabbitjobs.message.codec import encode
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.message.properties import Properties
from rabbitjobs.policy.rules import review
from tests.unit.consumer.bench import SPEC, Bench


async def test_a_job_is_run_recorded_and_then_acked(bench: Bench) -> None:
    """In this order, each message once."""
    bench.register(lambda: 5)
    bench.put(*(f"i{number}" for number in range(20)))
    await bench.consumer.start()
    await bench.settled()
    assert len(bench.memory.records) == 20
    assert {one.status for one in bench.memory.records.values()} == {Status.SUCCEEDED}
    assert len(bench.heard(events.JobSucceeded)) == 20
    assert bench.consumer.state == "consuming"


async def test_every_failure_has_its_place(bench: Bench) -> None:
    """Ignored by the queue's rule, retried, in review, in quarantine, expired."""
    raises: dict[str, BaseException] = {
        "ignored": KeyError("x"),
        "retried": ValueError("x"),
        "signal": Ignore("x"),
    }

    def job(which: str) -> None:
        raise raises[which]

    bench.register(job)
    for which in raises:
        bench.put(which, body=f'{{"args":["{which}"]}}'.encode())
    bench.put("arguments", body=b'{"args":[5]}')
    bench.put("expired", expires=now() - 1)
    bench.put("unknown", job="nobody's", unknown=3)
    bench.raw(Properties(message_id="no job"))
    bench.raw(Properties(type="job", message_id="m", headers={h.ATTEMPT: "first"}))
    await bench.consumer.start()
    await bench.settled()
    assert len(bench.failed("ignored")) == 3
    assert len(bench.failed("review")) == 1
    assert len(bench.failed("quarantine")) == 3
    statuses = {job_id: one.status.value for (job_id, _), one in bench.memory.records.items()}
    assert statuses == {
        "ignored": "ignored",
        "retried": "retrying",
        "signal": "ignored",
        "arguments": "in-review",
        "expired": "expired",
        "unknown": "quarantined",
    }
    assert len(bench.heard(events.DeliveryUndecodable)) == 2
    (retrying,) = bench.heard(events.JobRetrying)
    assert (retrying.job_id, retrying.delay) == ("retried", 5.0)


async def test_a_retry_comes_back_as_the_next_attempt(bench: Bench) -> None:
    """Until it succeeds."""
    seen: list[int] = []

    def job() -> None:
        seen.append(1)
        if len(seen) < 3:
            raise Retry("not yet")

    bench.register(job)
    bench.put("i")
    await bench.consumer.start()
    for attempt in (1, 2):
        await bench.until(partial(bench.memory.records.__contains__, ("i", attempt)))
        await bench.settled()
        bench.broker.advance(60)
    await bench.until(lambda: bench.heard(events.JobSucceeded))
    assert list(bench.memory.records) == [("i", 1), ("i", 2), ("i", 3)]


async def test_an_unknown_job_is_passed_on_as_the_same_attempt_until_a_worker_knows_it(
    bench: Bench,
) -> None:
    """A rolling deploy: an old worker uses up none of the job's attempts, and records nothing."""
    bench.put("i", job="new", attempt=4)
    await bench.consumer.start()
    for _ in range(2):
        await bench.settled()
        assert bench.memory.records == {}
        assert bench.failed("quarantine") == []
        bench.broker.advance(130)
    await bench.settled()
    seen: list[int] = []

    def job(ctx: Context) -> None:
        seen.append(ctx.attempt)

    bench.registry.add(
        define(job, name="new", queue="q", retry=None, rules=(), ignore_result=False)
    )
    bench.broker.advance(130)
    await bench.until(lambda: bench.heard(events.JobSucceeded))
    assert seen == [4]
    assert list(bench.memory.records) == [("i", 4)]
    assert [one.attempt for one in bench.heard(events.JobPassedOn)] == [4, 4, 4]
    assert bench.heard(events.JobRetrying) == []
    assert [noted.status for noted in bench.memory.noted] == [
        *[Status.RETRYING] * 3,
        Status.RUNNING,
    ]
    assert {noted.attempt for noted in bench.memory.noted[:3]} == {3}


async def test_two_copies_of_what_was_passed_on_have_one_outcome(bench: Bench) -> None:
    """A worker that died after it passed a first attempt on: the second copy is looked up."""
    ran: list[int] = []
    bench.register(lambda: ran.append(1))
    passed = Envelope(id="i", job="job", queue="q", body=b"{}").passed_on(due=0.0)
    for _ in range(2):
        bench.raw(encode(passed))
    await bench.consumer.start()
    await bench.settled()
    assert ran == [1]
    assert len(bench.heard(events.DuplicateDropped)) == 1


async def test_an_attempt_that_was_recorded_before_runs_no_code(bench: Bench) -> None:
    """A worker died between record and ack: its follow-ups are repeated, then it is acked."""
    ran: list[int] = []

    def job() -> None:
        ran.append(1)
        raise ValueError("x")

    bench.register(job, rules=(review(),))
    bench.put("i", attempt=2)
    await bench.consumer.start()
    await bench.settled()
    bench.put("i", attempt=2)
    await bench.settled()
    assert len(ran) == 1
    assert len(bench.failed("review")) == 2
    assert len(bench.heard(events.DuplicateDropped)) == 1


async def test_a_twin_that_was_recorded_first_decides(bench: Bench) -> None:
    """An unknown publish that was repeated: two messages of a first attempt."""
    outcomes = [7]

    async def job() -> int:
        if ran:
            return outcomes.pop()
        ran.append(1)
        raise ValueError("x")

    ran: list[int] = []

    bench.register(job, rules=(review(),))
    bench.put("i")
    await bench.consumer.start()
    await bench.settled()
    bench.put("i")
    await bench.settled()
    (record,) = bench.memory.records.values()
    assert record.status is Status.IN_REVIEW
    assert len(bench.heard(events.DuplicateDropped)) == 1


def test_the_rule_book_names_where_each_rule_stands() -> None:
    """For the person on the desk."""
    job = define(
        lambda: 1,
        name="job",
        queue="q",
        retry="other",
        rules=(review(on=KeyError),),
        ignore_result=False,
    )
    book = rule_book(SPEC, "q", job)
    assert book.own_retry == "other"
    assert [one.source for one in book.job_rules] == ["job job, rule 1: KeyError -> review"]
    assert [one.source for one in book.queue_rules] == ["queue q, rule 1: LookupError -> ignore"]
    assert rule_book(SPEC, "q", None).own_retry == "default"
