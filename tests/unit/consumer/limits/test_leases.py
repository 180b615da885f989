"""Holding keys: claimed, renewed, given back, and told when lost."""

from __future__ import annotations

import asyncio

import pytest

from rabbitjobs import events
from rabbitjobs.consumer.context import Context, Signal
from rabbitjobs.consumer.limits import leases as module
from rabbitjobs.consumer.limits.leases import (
    LEASE_SECONDS,
    RENEW_SECONDS,
    Hold,
    Leases,
    shown,
)
from rabbitjobs.errors import StoreUnavailable
from rabbitjobs.message.envelope import Envelope
from tests.unit.consumer.limits.sharing import Shared


class Process:
    """Somebody who holds keys."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.heard: list[events.Event] = []
        self.freed: list[str] = []
        bus = events.Bus()
        bus.listen(self.heard.append)
        self.leases = Leases(shared, bus=bus, freed=self.freed.append, clock=lambda: shared.time)

    async def claim(self, job_id: str, limit: int = 1) -> Hold | None:
        """The lease of the only key."""
        envelope = Envelope(id=job_id, job="job", queue="q", body=b"")
        return await self.leases.claim("k", limit, envelope)


async def test_a_key_is_held_by_one_and_given_back() -> None:
    """Those who wait here are told."""
    process = Process(Shared())
    hold = await process.claim("a")
    assert hold is not None and await process.claim("b") is None
    assert process.leases.count("k") == 1
    process.leases.ended(hold, freed=False)
    process.leases.ended(hold, freed=False)
    await process.leases.close()
    assert (process.shared.holders, process.freed, process.leases.count("k")) == ([], ["k"], 0)
    assert await process.claim("b") is not None
    await process.leases.close()


async def test_what_a_record_has_ended_is_not_ended_again() -> None:
    """It was in the transaction of the outcome."""
    process = Process(Shared())
    hold = await process.claim("a")
    assert hold is not None
    process.leases.ended(hold, freed=True)
    assert process.freed == ["k"]
    assert process.shared.holders == ["a"]
    await process.leases.close()


async def test_a_lease_that_was_taken_over_is_lost_and_told_once() -> None:
    """The broker gave the job to another process."""
    process = Process(Shared())
    hold = await process.claim("a")
    assert hold is not None
    await process.leases.renew()
    assert not hold.lost
    assert await Process(process.shared).claim("a") is not None
    await process.leases.renew()
    await process.leases.renew()
    assert hold.lost
    assert [one.key for one in process.heard if isinstance(one, events.LeaseLost)] == [shown("k")]
    await process.leases.close()


async def test_the_job_hears_of_it_before_others_may_have_the_key() -> None:
    """The store is away for longer and longer."""
    process = Process(Shared())
    hold = await process.claim("a")
    assert hold is not None
    process.shared.down = True
    while not hold.lost:
        process.shared.time += RENEW_SECONDS
        await process.leases.renew()
        assert process.shared.time < LEASE_SECONDS
    await process.leases.close()


async def test_an_outage_shorter_than_that_costs_nothing() -> None:
    """One renewal that fails."""
    process = Process(Shared())
    hold = await process.claim("a")
    assert hold is not None
    for down in (False, True, False, True, False):
        process.shared.down = down
        process.shared.time += RENEW_SECONDS
        await process.leases.renew()
    assert not hold.lost
    await process.leases.close()


async def test_a_claim_without_an_answer_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been granted; nobody would renew it."""
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.05)
    process = Process(Shared())
    given = asyncio.Event()

    async def late(key: str, limit: int, job: tuple[str, int], token: str, s: float) -> bool:
        process.shared.leases[key] = {job[0]: (job[1], token)}
        assert limit and s
        given.set()
        await asyncio.Event().wait()
        return True

    monkeypatch.setattr(process.shared, "hold", late)
    with pytest.raises(TimeoutError):
        await process.claim("a")
    assert given.is_set()
    await process.leases.close()
    assert process.shared.holders == []


async def test_the_store_away_is_said_once() -> None:
    """And when it is back."""
    said: list[str] = []
    shared = Shared()
    leases = Leases(shared, bus=events.Bus(), away=said.append)
    shared.down = True
    with pytest.raises(StoreUnavailable):
        await leases.claim("k", 1, Envelope(id="a", job="job", queue="q", body=b""))
    for reason in ("down", "still down", "", ""):
        leases.away(reason)
    assert said == ["down", ""]
    await leases.close()


def test_a_signal_is_false_until_it_has_happened() -> None:
    """And can be waited for, by those who cannot be told as well."""
    told: list[int] = []
    signal = Signal()
    signal.then(lambda: told.append(1))
    assert not signal and not signal.wait(0.001)
    signal.set()
    signal.set()
    assert signal and signal.wait(0.001) and told == [1]
    looks = iter([False, False, True])
    assert Signal(lambda: next(looks)).wait(5)
    assert not Signal(lambda: False).wait(0.001)


def test_a_job_without_a_key_never_loses_a_lease() -> None:
    """Asking costs nothing."""
    context = Context.detached()
    context.if_lease_lost(lambda: None)
    assert not context.lease_lost
