"""Consuming a queue of a broker in memory: endings, adoption of redeliveries, draining."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest
import tenacity

from rabbitjobs import events
from rabbitjobs.backend.protocol import Record, Status
from rabbitjobs.broker.url import Address
from rabbitjobs.broker.version import from_version
from rabbitjobs.clock import now
from rabbitjobs.consumer import consumer as module
from rabbitjobs.consumer.consumer import Drained, QueueConsumer
from rabbitjobs.consumer.context import Context
from rabbitjobs.consumer.executor import Executor
from rabbitjobs.consumer.handle import Handler
from rabbitjobs.consumer.rulebook import rule_book
from rabbitjobs.ending import settle as settle_module
from rabbitjobs.errors import StoreUnavailable
from rabbitjobs.events import Event
from rabbitjobs.job.definition import define
from rabbitjobs.job.registry import Registry
from rabbitjobs.job.signals import Ignore, Retry
from rabbitjobs.message import headers as h
from rabbitjobs.message.codec import encode
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.message.properties import Properties
from rabbitjobs.policy.rules import review
from rabbitjobs.publisher.publisher import Publisher
from rabbitjobs.testing.memory import declare_plan
from rabbitjobs.topology.model import QueueSpec, RuleSpec, TopologySpec, default_retry
from rabbitjobs.topology.plan import compile_plan
from rabbitjobs.wire import link as link_module
from rabbitjobs.wire.memory import MemoryBroker, MemoryWire
from rabbitjobs.wire.protocol import Confirmed, Outgoing
from rabbitjobs.wire.session import Session

SPEC = TopologySpec(
    namespace="shop",
    queues={"q": QueueSpec(name="q", rules=(RuleSpec(do="ignore", errors=("LookupError",)),))},
    retry={"default": default_retry()},
)


class Memory:
    """A recorder in memory, which can be down."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, int], Record] = {}
        self.down = False
        self.asked: list[tuple[str, int]] = []
        self.noted: list[Record] = []

    async def recorded(self, job_id: str, attempt: int) -> bytes | None:
        """See ``Recorder``."""
        self.asked.append((job_id, attempt))
        found = self.records.get((job_id, attempt))
        return None if found is None else found.decision or b""

    async def record(self, record: Record) -> bool:
        """See ``Recorder``."""
        if self.down:
            raise StoreUnavailable("the store is down")
        key = (record.job_id, record.attempt)
        if key in self.records:
            return False
        self.records[key] = record
        return True

    def running(self, record: Record) -> None:
        """See ``Recorder``."""
        self.noted.append(record)

    def progress(self, job_id: str, progress: bytes) -> None:
        """See ``Recorder``."""


class Bench:
    """A worker of queue ``q`` with two slots."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()
        declare_plan(self.broker, compile_plan(SPEC, from_version(self.broker.version)))
        self.session = Session(lambda: MemoryWire(self.broker), [Address()], name="t")
        self.memory = Memory()
        self.registry = Registry()
        self.bus = events.Bus()
        self.events: list[Event] = []
        self.bus.listen(self.events.append)
        publisher = Publisher(
            spec=lambda: SPEC,
            session=lambda: self.session,
            results=lambda: None,
            unique=lambda: None,
            outbox=lambda _tx, _envelope, _undone: None,
        )
        self.handler = Handler(
            queue="q",
            spec=SPEC,
            registry=self.registry,
            executor=Executor(self.registry, threads=2),
            recorder=self.memory,
            publish=publisher.confirmed,
            bus=self.bus,
            keep=60.0,
            worker="w",
            chance=lambda: 0.5,
        )
        self.consumer = QueueConsumer(
            queue="q",
            namespace="shop",
            session=self.session,
            handler=self.handler,
            slots=2,
            bus=self.bus,
        )

    def register(self, function: Callable[..., Any], **more: Any) -> None:
        """Make it the job called ``job``."""
        values: dict[str, Any] = {"retry": None, "rules": (), "ignore_result": False} | more
        self.registry.add(define(function, name="job", queue="q", **values))

    def put(self, *ids: str, body: bytes = b"{}", **more: Any) -> None:
        """Messages stand in the queue."""
        for each in ids:
            envelope = Envelope(**({"id": each, "job": "job", "queue": "q", "body": body} | more))
            self.raw(encode(envelope), body)

    def raw(self, properties: Properties, body: bytes = b"{}") -> None:
        """A message of anybody stands in the queue."""
        assert isinstance(
            self.broker.publish(Outgoing("shop.jobs", "q", properties, body)), Confirmed
        )

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for the broker or the events."""
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.002)

    async def settled(self) -> None:
        """Wait until nothing is left in the queue, acked or elsewhere."""
        await self.until(lambda: self.broker.depth("shop.q.q") == (0, 0))

    def heard(self, kind: type[Event]) -> list[Any]:
        """Events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def failed(self, kind: str) -> list[Any]:
        """What stands in a queue of failed jobs."""
        return list(self.broker.messages(f"shop.{kind}"))

    async def drain(self, grace: float = 5.0) -> Drained:
        """Stop."""
        return await self.consumer.drain(grace, asyncio.Event())


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    """Not consuming yet."""
    monkeypatch.setattr(link_module, "SHORT_LIFE_SECONDS", 0.01)
    monkeypatch.setattr(tenacity, "wait_random_exponential", lambda **_: lambda _: 0.01)
    bench = Bench()
    yield bench
    await bench.drain(0)
    await asyncio.to_thread(bench.session.close)


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


async def test_two_messages_of_one_attempt_never_run_at_the_same_time(bench: Bench) -> None:
    """The second waits for the first one's end."""
    running, most = 0, 0

    async def job() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.05)
        running -= 1

    bench.register(job)
    bench.put("i", "i", "other")
    await bench.consumer.start()
    await bench.settled()
    assert most <= 2
    assert len(bench.heard(events.JobSucceeded)) == 2
    assert len(bench.heard(events.DuplicateDropped)) == 1


async def test_a_redelivery_of_a_running_attempt_is_adopted(bench: Bench) -> None:
    """The connection broke: the job goes on, runs once, and is acked by its new tag."""
    gate = asyncio.Event()
    ran: list[int] = []

    async def job() -> None:
        ran.append(1)
        await gate.wait()

    bench.register(job)
    bench.put("i", "j")
    await bench.consumer.start()
    await bench.until(lambda: len(ran) == 2)
    bench.broker.drop_connections()
    await bench.until(lambda: len(bench.heard(events.DeliveryAdopted)) == 2)
    gate.set()
    await bench.settled()
    assert len(ran) == 2
    assert len(bench.heard(events.JobSucceeded)) == 2


async def test_after_a_reconnect_there_are_never_more_jobs_than_slots(bench: Bench) -> None:
    """The prefetch is free again while the old attempts still run; stale messages run once."""
    gates = {name: asyncio.Event() for name in "abcd"}
    ran: list[str] = []

    async def job(name: str) -> None:
        ran.append(name)
        await gates[name].wait()

    bench.register(job)
    for name in "ab":
        bench.put(name, body=f'{{"args":["{name}"]}}'.encode())
    await bench.consumer.start()
    await bench.until(lambda: len(ran) == 2)
    # Their records exist already, so they are dropped elsewhere: only new ones come now.
    for name in "cd":
        bench.put(name, body=f'{{"args":["{name}"]}}'.encode())
    for _ in range(3):
        bench.events.clear()
        bench.broker.drop_connections()
        await bench.until(lambda: len(bench.heard(events.DeliveryAdopted)) == 2)
    assert bench.consumer.busy == 2
    for gate in gates.values():
        gate.set()
    await bench.settled()
    assert sorted(ran) == ["a", "b", "c", "d"]


async def test_a_store_that_is_down_holds_the_ack(bench: Bench) -> None:
    """The job is not run again, and somebody hears why."""
    ran: list[int] = []
    bench.register(lambda: ran.append(1))
    bench.memory.down = True
    bench.put("i")
    await bench.consumer.start()
    await bench.until(lambda: bench.heard(events.EndingDelayed))
    assert bench.broker.depth("shop.q.q") == (0, 1)
    bench.memory.down = False
    await bench.settled()
    assert len(ran) == 1
    assert bench.heard(events.EndingDelayed)[0].reason == "the store is down"


async def test_a_fault_of_ours_gives_the_message_back_and_leaks_no_slot(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No ending was reached: no ack."""
    monkeypatch.setattr(module, "FAULT_PAUSE_SECONDS", 0.01)
    reported: list[str] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: reported.append(str(context["exception"]))
    )
    bench.register(lambda: 1)
    decide = bench.handler._executor.execute
    faults = iter([True] * 2)

    async def faulty(envelope: Envelope) -> Any:
        if next(faults, False):
            raise RuntimeError("ours")
        return await decide(envelope)

    bench.handler._executor.execute = faulty  # type: ignore[method-assign]
    bench.put("i")
    await bench.consumer.start()
    await bench.settled()
    assert reported == ["ours"] * 2
    assert bench.memory.records["i", 1].status is Status.SUCCEEDED


async def test_a_message_whose_handling_fails_for_good_comes_before_a_person(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RabbitMQ 4.3 counts no message that is given back: its limit would never end the loop."""
    monkeypatch.setattr(module, "FAULT_PAUSE_SECONDS", 0.01)
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    runs: list[int] = []

    async def broken(_: Envelope) -> Any:
        runs.append(1)
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(bench.handler._executor, "execute", broken)
    bench.put("i")
    await bench.consumer.start()
    await bench.settled()
    assert len(runs) == module.FAULTS_BEFORE_REVIEW
    assert [one.status for one in bench.memory.records.values()] == [Status.IN_REVIEW]
    (message,) = bench.failed("review")
    assert "a fault of ours" in message.properties.headers[h.FAILURE]


@pytest.mark.parametrize("fails", [False, True])
async def test_an_outcome_that_the_store_refuses_for_good_comes_before_a_person(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """The job runs once, its end says why nothing was stored, and nothing comes back."""
    monkeypatch.setattr(settle_module, "RECORD_PAUSE_SECONDS", 0.001)
    runs: list[int] = []
    tries: list[Status] = []
    record = bench.memory.record

    async def broken(one: Record) -> bool:
        tries.append(one.status)
        if one.status is not Status.IN_REVIEW:
            raise RuntimeError("CHECK constraint failed\n[SQL: INSERT INTO rj_jobs ...]")
        return await record(one)

    def job() -> None:
        runs.append(1)
        if fails:
            raise ValueError("bad order")

    monkeypatch.setattr(bench.memory, "record", broken)
    bench.register(job)
    bench.put("i")
    await bench.consumer.start()
    await bench.settled()
    assert len(runs) == 1
    assert len(tries) == settle_module.RECORD_TRIES + 1
    (kept,) = bench.memory.records.values()
    what = "failure" if fails else "result"
    said = f"{what} could not be stored: RuntimeError: CHECK constraint failed"
    assert kept.status is Status.IN_REVIEW
    assert kept.error == said + ("; it was ValueError: bad order" if fails else "")
    (message,) = bench.failed("review")
    assert said in message.properties.headers[h.FAILURE]
    assert bench.failed("quarantine") == []


async def test_a_store_that_takes_nothing_of_an_attempt_puts_it_into_quarantine(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its neighbour is done; it is seen in quarantine with the reason, and does not loop."""
    monkeypatch.setattr(settle_module, "RECORD_PAUSE_SECONDS", 0.001)
    record = bench.memory.record

    async def broken(one: Record) -> bool:
        if one.job_id == "bad":
            raise RuntimeError("not a row of mine")
        return await record(one)

    monkeypatch.setattr(bench.memory, "record", broken)
    bench.register(lambda: 1)
    bench.put("bad", "good")
    await bench.consumer.start()
    await bench.settled()
    (message,) = bench.failed("quarantine")
    assert "result could not be stored: RuntimeError: not a row of mine" in str(
        message.properties.headers[h.FAILURE]
    )
    assert bench.failed("review") == []
    assert list(bench.memory.records) == [("good", 1)]


async def test_a_look_up_that_never_works_puts_the_message_into_quarantine(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither what was recorded can be read nor anything new be written."""
    monkeypatch.setattr(module, "FAULT_PAUSE_SECONDS", 0.01)
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)

    async def broken(_job_id: str, _attempt: int) -> bytes | None:
        raise RuntimeError("unreadable row")

    async def taken(_: Record) -> bool:
        return False

    monkeypatch.setattr(bench.memory, "recorded", broken)
    monkeypatch.setattr(bench.memory, "record", taken)
    bench.register(lambda: 1)
    bench.put("i", attempt=2)
    await bench.consumer.start()
    await bench.settled()
    (message,) = bench.failed("quarantine")
    assert "unreadable row" in message.properties.headers[h.FAILURE]


async def test_a_job_that_cancels_its_task_after_its_end_costs_no_slot(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its ending is cut off, so the message comes again, and then it ends."""
    monkeypatch.setattr(module, "FAULT_PAUSE_SECONDS", 0.01)
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    record, runs = bench.memory.record, []

    async def slow(one: Record) -> bool:
        await asyncio.sleep(0.05)
        return await record(one)

    async def job() -> None:
        runs.append(1)
        task = asyncio.current_task()
        if len(runs) == 1 and task is not None:
            asyncio.get_running_loop().call_later(0.02, task.cancel)

    monkeypatch.setattr(bench.memory, "record", slow)
    bench.register(job)
    bench.put("i")
    await bench.consumer.start()
    await bench.settled()
    assert len(runs) == 2
    assert bench.consumer.busy == 0


async def test_draining_finishes_what_runs_and_hands_back_the_rest(bench: Bench) -> None:
    """Nothing is lost, nothing runs twice."""
    gate, started = threading.Event(), threading.Semaphore(0)

    def job() -> None:
        started.release()
        gate.wait(10)

    bench.register(job)
    bench.put(*"abcdef")
    await bench.consumer.start()
    await bench.until(lambda: bench.consumer.busy == 2)
    draining = asyncio.create_task(bench.drain())
    await asyncio.sleep(0.05)
    assert not draining.done()
    gate.set()
    drained = await draining
    assert (drained.finished, drained.abandoned) == (2, 0)
    assert bench.broker.depth("shop.q.q") == (4, 0)
    assert len(bench.memory.records) == 2
    assert bench.consumer.state == "stopped"


async def test_a_second_signal_abandons_what_runs(bench: Bench) -> None:
    """It is not acked, and comes again."""
    started = asyncio.Event()

    async def job() -> None:
        started.set()
        await asyncio.sleep(3600)

    bench.register(job)
    bench.put("i")
    await bench.consumer.start()
    await started.wait()
    hurry = asyncio.Event()
    draining = asyncio.create_task(bench.consumer.drain(3600, hurry))
    await asyncio.sleep(0.01)
    hurry.set()
    assert await draining == Drained(0, 0, 1)
    assert bench.memory.records == {}
    assert bench.broker.depth("shop.q.q") == (1, 0)


async def test_a_consumer_that_never_connected_drains_at_once(bench: Bench) -> None:
    """There is nothing to lose."""
    assert await bench.drain() == Drained(0, 0, 0)


async def test_a_deleted_queue_is_unhealthy_until_it_is_there_again(bench: Bench) -> None:
    """It is never recreated by a worker."""
    bench.register(lambda: 1)
    await bench.consumer.start()
    await bench.until(lambda: bench.consumer.state == "consuming")
    bench.broker.delete_queue("shop.q.q")
    await bench.until(lambda: bench.consumer.state == "failed")
    assert "shop.q.q" not in bench.broker.queues
    declare_plan(bench.broker, compile_plan(SPEC, from_version(bench.broker.version)))
    await bench.until(lambda: bench.consumer.state == "consuming")


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
