"""A store that is down or refuses, and faults of our own: no ack without an ending."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rabbitjobs import events
from rabbitjobs.backend.protocol import Record, Status
from rabbitjobs.consumer import consumer as module
from rabbitjobs.consumer.refusals import KEPT
from rabbitjobs.ending import settle as settle_module
from rabbitjobs.message import headers as h
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.message.properties import Properties
from rabbitjobs.wire.protocol import Delivery
from rabbitjobs.wire.subscription import Handed
from tests.unit.consumer.bench import Bench


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


async def test_what_is_remembered_of_faults_stays_bounded(bench: Bench) -> None:
    """A message that others take after a fault here never ends here."""
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    bench.register(lambda: 1)
    await bench.consumer.start()
    delivery = Delivery(1, "", "q", False, Properties(), b"{}")
    for number in range(KEPT + 10):
        envelope = Envelope(id=str(number), job="job", queue="q", body=b"{}")
        running = module._Running(envelope, Handed(delivery, 1))
        assert not await bench.consumer._given_up(running, RuntimeError("ours"))
    assert len(bench.consumer._faults) == KEPT
