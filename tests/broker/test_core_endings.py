"""Every way to fail has its own ending, on a real broker with real delays."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rabbitjobs import Context, Ignore, RabbitJobs, Retry, Review, Status, rules
from rabbitjobs.app.desk_roles import IntakeRole
from rabbitjobs.app.roles import ConsumeRole
from rabbitjobs.broker.node import Node
from rabbitjobs.consumer import system
from rabbitjobs.errors import JobFailed
from rabbitjobs.message import headers as h
from rabbitjobs.message.properties import Properties
from rabbitjobs.policy import decide
from rabbitjobs.topology import names
from rabbitjobs.wire.protocol import Confirmed, Outgoing
from tests.broker.crew import PATIENCE, Crew, crew

TOPOLOGY = """
version: 1
namespace: shop
retry:
  quick: {delays: [200ms, 500ms]}
  shaky: {attempts: 2, backoff: fixed, delay: 1s, jitter: 0.5}
queues:
  work:
    retry: quick
    on:
      - {error: KeyError, do: ignore}
      - {error: LookupError, do: notify, then: review}
  shaky: {retry: shaky}
  nothing: {ignored_keep: 0}
  line: {ordered: true, retry: quick}
"""


@pytest.fixture
def shop(node: Node, tmp_path: Path) -> Iterator[Crew]:
    """The topology, without code: the jobs are registered by each test."""
    with crew(node, tmp_path, "", TOPOLOGY) as found:
        yield found


class Hall:
    """Consumes in this process; makes jobs out of functions."""

    def __init__(self, shop: Crew) -> None:
        self.shop = shop
        self.app: RabbitJobs = shop.app
        self.roles: list[ConsumeRole] = []

    async def open(self, *queues: str) -> None:
        """Consume these queues."""
        for queue in queues:
            self.roles.append(ConsumeRole(self.app, queue))
            await self.roles[-1].start()

    async def close(self) -> None:
        """Stop."""
        await asyncio.gather(*(role.drain(20, asyncio.Event()) for role in self.roles))

    async def reaches(self, status: Status, *job_ids: str) -> None:
        """Wait until jobs stand there."""
        await asyncio.to_thread(self.shop.until_status, status, *job_ids)

    async def raw(self, queue: str, properties: Properties, body: bytes = b"{}") -> None:
        """Send as any AMQP client does."""
        message = Outgoing(names.jobs_exchange("shop"), queue, properties, body)
        assert isinstance(await self.app.publisher.apublish(message, 10), Confirmed)

    async def totals(self, **expected: int) -> None:
        """Wait until the queues hold exactly so many messages."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE
        while True:
            found = {
                name: await asyncio.to_thread(self.shop.total, name.replace("_", "."))
                for name in expected
            }
            if found == expected:
                return
            assert loop.time() < deadline, found
            await asyncio.sleep(0.05)


@pytest.fixture
async def hall(shop: Crew) -> AsyncIterator[Hall]:
    """Not consuming yet; the store is open: its import takes longer than most delays here."""
    await asyncio.to_thread(shop.status, "nobody")
    hall = Hall(shop)
    yield hall
    await hall.close()


async def test_a_retry_policy_is_kept_to_the_millisecond(hall: Hall) -> None:
    """Each attempt in its time, then the next; the result is the last one's."""
    starts: list[float] = []

    @hall.app.job(queue="work")
    async def fails_twice(ctx: Context) -> int:
        starts.append(time.monotonic())
        if ctx.attempt < 3:
            raise ValueError("not yet")
        return ctx.attempt

    await hall.open("work")
    handle = await fails_twice.asend()
    assert await handle.aresult(PATIENCE) == 3
    first, second = starts[1] - starts[0], starts[2] - starts[1]
    assert 0.2 <= first < 2
    assert 0.5 <= second < 3


async def test_when_its_attempts_are_used_up_it_waits_for_a_person(hall: Hall) -> None:
    """With its error and its history."""

    @hall.app.job(queue="work")
    def always() -> None:
        raise ValueError("no")

    await hall.open("work")
    handle = await always.asend()
    await hall.reaches(Status.IN_REVIEW, handle.id)
    await hall.totals(review=1, q_work=0)
    info = await handle.ainfo()
    assert info is not None
    assert (info.attempt, info.error_type, info.error) == (3, "ValueError", "no")
    assert "in always" in (info.traceback or "")


async def test_the_signals_of_a_job_come_before_all_rules(hall: Hall) -> None:
    """Retry with its own delay by the ladder, Ignore, Review."""
    starts: list[float] = []

    @hall.app.job(queue="work", on=[rules.review()])
    async def signals(ctx: Context, what: str) -> str:
        if what == "retry" and ctx.attempt == 1:
            starts.append(time.monotonic())
            raise Retry("later", delay=timedelta(seconds=1))
        if what == "ignore":
            raise Ignore("known")
        if what == "review":
            raise Review("look at it")
        starts.append(time.monotonic())
        return "done"

    await hall.open("work")
    retry, ignore, review = [await signals.asend(one) for one in ("retry", "ignore", "review")]
    assert await retry.aresult(PATIENCE) == "done"
    assert 1 <= starts[1] - starts[0] < 5
    with pytest.raises(JobFailed) as ended:
        await ignore.aresult(PATIENCE)
    assert (ended.value.state, ended.value.error) == ("ignored", "known")
    await hall.reaches(Status.IN_REVIEW, review.id)
    await hall.totals(review=1, ignored=1, q_work=0)


async def test_rules_of_the_queue_decide_by_the_class_chain(hall: Hall) -> None:
    """A KeyError is ignored, any other LookupError is told and reviewed."""

    @hall.app.job(queue="work")
    async def raises(index: bool) -> None:
        raise IndexError("i") if index else KeyError("k")

    await hall.open("work")
    ignored, reviewed = await raises.asend(False), await raises.asend(True)
    await hall.reaches(Status.IGNORED, ignored.id)
    await hall.reaches(Status.IN_REVIEW, reviewed.id)
    await hall.totals(review=1, ignored=1, notify=1, q_work=0)


async def test_jitter_goes_by_the_ladder(hall: Hall) -> None:
    """Between half and one and a half of the delay, rounded up to a second."""

    @hall.app.job(queue="shaky")
    async def fails_once(ctx: Context) -> int:
        if ctx.attempt == 1:
            raise ValueError("no")
        return ctx.attempt

    await hall.open("shaky")
    assert await (await fails_once.asend()).aresult(PATIENCE) == 2


async def test_a_delayed_job_comes_when_it_is_due(hall: Hall) -> None:
    """Not before, and soon after."""
    started: list[float] = []

    @hall.app.job(queue="work")
    async def note() -> None:
        started.append(time.monotonic())

    await hall.open("work")
    sent = time.monotonic()
    handle = await note.options(delay=timedelta(seconds=2)).asend()
    await handle.aresult(PATIENCE)
    assert 2 <= started[0] - sent < 5


async def test_an_expired_job_is_not_run(hall: Hall) -> None:
    """It ends as expired, and a record is kept."""
    ran: list[int] = []

    @hall.app.job(queue="work")
    async def note() -> None:
        ran.append(1)

    handle = await note.options(expires=timedelta(milliseconds=1)).asend()
    await asyncio.sleep(0.01)
    await hall.open("work")
    await hall.reaches(Status.EXPIRED, handle.id)
    await hall.totals(ignored=1, q_work=0)
    assert ran == []


async def test_strange_messages_have_their_own_endings(hall: Hall) -> None:
    """Unknown jobs, wrong arguments, what cannot be read: none loops, none vanishes."""
    ran: list[int] = []

    @hall.app.job("known", queue="work")
    async def known(number: int) -> int:
        ran.append(number)
        return number

    await hall.open("work")
    for body in (b"", b"null", b'{"args":["1"]}', b'{"args":[]}', b"\xff\xfe"):
        await hall.raw("work", Properties(message_id=f"m{body!r}", type="known"), body)
    await hall.raw("work", Properties(message_id="nobody", type="unknown", headers={h.UNKNOWN: 3}))
    await hall.raw("work", Properties(message_id="soon", type="unknown"))
    await hall.raw("work", Properties(message_id="no type"))
    await hall.raw("work", Properties(type="known"))
    await hall.raw("work", Properties(message_id="m", type="known", headers={h.ATTEMPT: "one"}))
    await hall.raw("work", Properties(message_id="good", type="known"), b'{"args":[7]}')
    assert await hall.app.handle("good").aresult(PATIENCE) == 7
    await hall.reaches(Status.QUARANTINED, "nobody")
    await hall.reaches(Status.RETRYING, "soon")
    await hall.totals(review=6, quarantine=3, q_work=0)
    assert ran == [7]


async def test_a_rolling_deploy_uses_up_no_attempt_of_a_job(
    hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry of the new release's job meets an old worker: the same attempt runs after it."""
    monkeypatch.setattr(decide, "UNKNOWN_JOB_DELAYS", (1.0,) * 60)
    seen: list[int] = []
    await hall.open("work")
    await hall.raw("work", Properties(message_id="late", type="new", headers={h.ATTEMPT: 7}))
    await hall.reaches(Status.RETRYING, "late")

    @hall.app.job("new", queue="work", ignore_result=True)
    def new(ctx: Context) -> None:
        seen.append(ctx.attempt)

    await hall.reaches(Status.SUCCEEDED, "late")
    await hall.totals(quarantine=0, q_work=0)
    assert seen == [7]
    info = await hall.app.handle("late").ainfo()
    assert info is not None
    assert info.attempt == 7


async def test_a_result_that_the_store_refuses_comes_before_a_person(hall: Hall) -> None:
    """The job runs once, its neighbours are done, and nothing is given back for ever."""
    store = hall.app.parts.store
    assert store is not None
    refuse = """
        CREATE TRIGGER refuse BEFORE INSERT ON rj_jobs WHEN new.result = CAST('13' AS BLOB)
        BEGIN SELECT RAISE(ABORT, 'no thirteens here'); END
    """
    await store.arun(lambda connection: connection.exec_driver_sql(refuse).close())
    ran: list[int] = []

    @hall.app.job(queue="work")
    async def number(value: int) -> int:
        ran.append(value)
        return value

    await hall.open("work")
    sent = [await number.asend(value) for value in (12, 13, 14)]
    await hall.reaches(Status.IN_REVIEW, sent[1].id)
    assert [await sent[place].aresult(PATIENCE) for place in (0, 2)] == [12, 14]
    await hall.totals(review=1, quarantine=0, q_work=0)
    info = await sent[1].ainfo()
    assert info is not None
    assert info.error == "result could not be stored: IntegrityError: no thirteens here"
    assert sorted(ran) == [12, 13, 14]


async def test_a_case_that_the_store_refuses_ends_in_quarantine(
    hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The intake does not give it back for ever, and takes the next one in."""
    monkeypatch.setattr(system, "PAUSE_SECONDS", 0.01)
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    store = hall.app.parts.store
    assert store is not None
    refuse = """
        CREATE TRIGGER refuse BEFORE INSERT ON rj_cases WHEN new.error = 'unwritable'
        BEGIN SELECT RAISE(ABORT, 'not on this desk'); END
    """
    await store.arun(lambda connection: connection.exec_driver_sql(refuse).close())

    @hall.app.job(queue="work")
    async def review_me(reason: str) -> None:
        raise Review(reason)

    await hall.open("work")
    for reason in ("unwritable", "fine"):
        await review_me.asend(reason)
    intake = IntakeRole(hall.app)
    await intake.start()
    await hall.totals(review=0, quarantine=1, q_work=0)
    await intake.drain(20, asyncio.Event())
    (case,) = (await asyncio.to_thread(hall.app.desk.list)).cases
    assert case.error == "fine"


async def test_a_queue_may_keep_no_record_of_what_is_ignored(hall: Hall) -> None:
    """The status remains."""

    @hall.app.job(queue="nothing")
    async def ignores() -> None:
        raise Ignore("known")

    await hall.open("nothing")
    handle = await ignores.asend()
    await hall.reaches(Status.IGNORED, handle.id)
    await hall.totals(ignored=0, q_nothing=0)


async def test_an_ordered_queue_keeps_its_order(hall: Hall) -> None:
    """Whoever consumes: one at a time, in the order of sending."""
    seen: list[int] = []
    running = 0

    @hall.app.job(queue="line")
    async def note(number: int) -> None:
        nonlocal running
        running += 1
        assert running == 1
        await asyncio.sleep(random.random() / 200)
        seen.append(number)
        running -= 1

    await hall.open("line", "line", "line")
    sent = await hall.app.asend_many([note.call(number) for number in range(60)])
    await sent[-1].handle.aresult(PATIENCE)
    assert seen == list(range(60))


async def test_a_progress_is_seen_while_the_job_runs(hall: Hall) -> None:
    """So is the status."""
    go_on = asyncio.Event()

    @hall.app.job(queue="work")
    async def works(ctx: Context) -> None:
        ctx.progress(3, 10, "so far")
        await go_on.wait()

    await hall.open("work")
    handle = await works.asend()
    await hall.reaches(Status.RUNNING, handle.id)
    seen: Callable[[], Any] = handle.info
    deadline = time.monotonic() + PATIENCE
    while not (info := await asyncio.to_thread(seen)) or not info.progress:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    assert info.progress == b'{"done":3,"total":10,"note":"so far"}'
    go_on.set()
    await handle.aresult(PATIENCE)
