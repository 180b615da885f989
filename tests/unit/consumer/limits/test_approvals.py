"""Jobs that need a person's yes and have limits: those hold for what runs."""

from __future__ import annotations

from rabbitjobs.backend.protocol import Status
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.policy.rate import rate
from tests.unit.consumer.limits.gated import Gated


async def quick(customer: str) -> None:
    """A job."""
    assert customer


BODY = b'{"args":["ann"],"kwargs":{}}'


async def says_yes(envelope: Envelope) -> bool:
    """A person has released this one case."""
    return envelope.case == "c1"


async def test_a_job_without_a_yes_needs_no_rate_and_no_key(gated: Gated) -> None:
    """It only goes to the desk: at once, and at nobody's cost."""
    gated.job("job", quick, needs_approval=True, concurrency_key="{customer}", rate="1/s")
    gated.put("job", *(f"j{n}" for n in range(12)), body=BODY)
    await gated.start(queue_rate=rate("1/s"))
    await gated.bench.settled()
    assert len(gated.bench.failed("review")) == 12
    assert (gated.put_off, gated.shared.asks, gated.shared.leases) == ([], [], {})


async def test_with_a_yes_it_keeps_its_limits_as_any_other(gated: Gated) -> None:
    """The key is taken, and free after it."""
    gated.job("job", quick, needs_approval=True, concurrency_key="{customer}")
    gated.bench.handler._approvals = says_yes
    gated.bench.put("j", job="job", body=BODY, attempt=2, release="r", case="c1")
    await gated.start()
    await gated.succeeded(1)
    assert list(gated.shared.leases) != []
    assert gated.shared.holders == []


async def test_a_false_yes_leaves_no_key_taken(gated: Gated) -> None:
    """Whoever writes the header of a release gets as far as the key, and no farther."""
    gated.job("job", quick, needs_approval=True, concurrency_key="{customer}")
    gated.bench.handler._approvals = says_yes
    gated.bench.put("j", job="job", body=BODY, attempt=2, release="r", case="c2")
    await gated.start()
    await gated.bench.settled()
    (record,) = gated.bench.memory.records.values()
    assert record.status is Status.IN_REVIEW
    assert record.lease is not None
    assert gated.shared.holders == []
