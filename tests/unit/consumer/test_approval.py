"""A job that needs approval: it comes to the desk unrun, and runs once a person has said yes."""

from __future__ import annotations

from rabbitjobs import events
from rabbitjobs.backend.protocol import Status
from rabbitjobs.clock import now
from rabbitjobs.errors import StoreUnavailable
from rabbitjobs.message import headers as h
from rabbitjobs.message.envelope import Envelope
from tests.unit.consumer.bench import Bench
from tests.unit.consumer.orders import Orders, order


class Yes:
    """Says yes to the messages of some cases, once the store is there."""

    def __init__(self, *cases: str, down: int = 0) -> None:
        self.cases = cases
        self.down = down
        self.asked: list[str | None] = []

    async def __call__(self, envelope: Envelope) -> bool:
        """See ``Approved``."""
        self.asked.append(envelope.case)
        if len(self.asked) <= self.down:
            raise StoreUnavailable("the store is down")
        return envelope.case in self.cases


def gated(bench: Bench, yes: Yes | None) -> list[int]:
    """The bench with a job behind a gate; what it has run."""
    ran: list[int] = []
    bench.register(lambda: ran.append(1), needs_approval=True)
    bench.handler._approvals = yes
    return ran


async def test_a_job_behind_the_gate_comes_to_the_desk_unrun(bench: Bench) -> None:
    """As in review, with a rule that says why; nobody hears that it has started."""
    ran = gated(bench, Yes())
    bench.put("one")
    await bench.consumer.start()
    await bench.settled()
    assert ran == []
    (record,) = bench.memory.records.values()
    assert (record.status, record.error_type) == (Status.IN_REVIEW, "approval")
    (message,) = bench.failed("review")
    assert "yes" in str(message.properties.headers[h.RULE])
    assert bench.heard(events.JobStarted) == []


async def test_it_runs_once_a_person_has_said_yes(bench: Bench) -> None:
    """The desk's store is asked, and nobody else."""
    ran = gated(bench, yes := Yes("c1"))
    bench.put("one", attempt=2, release="r1", case="c1")
    await bench.consumer.start()
    await bench.settled()
    assert (ran, yes.asked) == ([1], ["c1"])


async def test_a_release_that_nobody_made_is_no_yes(bench: Bench) -> None:
    """Whoever may publish can write any header."""
    ran = gated(bench, Yes("c1"))
    bench.put("one", attempt=2, release="r1", case="c2")
    bench.put("two", attempt=2, case="c1")
    await bench.consumer.start()
    await bench.settled()
    assert ran == []
    assert len(bench.failed("review")) == 2


async def test_without_a_store_to_ask_nothing_runs(bench: Bench) -> None:
    """A gate that cannot be asked is shut."""
    ran = gated(bench, None)
    bench.put("one", attempt=2, release="r1", case="c1")
    await bench.consumer.start()
    await bench.settled()
    assert ran == []
    assert len(bench.failed("review")) == 1


async def test_a_store_that_is_down_is_waited_for(bench: Bench) -> None:
    """The message stays unacked meanwhile."""
    ran = gated(bench, yes := Yes("c1", down=1))
    bench.put("one", attempt=2, release="r1", case="c1")
    await bench.consumer.start()
    await bench.settled()
    assert (ran, len(yes.asked)) == ([1], 2)


async def test_nobody_is_asked_about_what_came_too_late(bench: Bench) -> None:
    """It has expired, as any other job would have."""
    ran = gated(bench, Yes())
    bench.put("one", expires=now() - 1)
    await bench.consumer.start()
    await bench.settled()
    (record,) = bench.memory.records.values()
    assert (ran, record.status) == ([], Status.EXPIRED)


async def test_what_is_cancelled_comes_before_nobody(bench: Bench) -> None:
    """Before a yes and after one: it has ended, and the desk is not asked for anything."""
    ran = gated(bench, Yes("c1"))
    orders = Orders(bench)
    orders.rows += [order("one"), order("two")]
    bench.put("one")
    bench.put("two", attempt=2, release="r1", case="c1")
    await bench.consumer.start()
    await bench.settled()
    assert {one.status for one in bench.memory.records.values()} == {Status.CANCELLED}
    assert bench.memory.records[("two", 2)].case == "c1"
    assert (ran, bench.failed("review")) == ([], [])


async def test_what_is_cancelled_while_the_yes_is_looked_up_does_not_start(bench: Bench) -> None:
    """That look may wait for the store, for as long as it is away."""
    ran = gated(bench, None)
    orders = Orders(bench)

    async def yes(_envelope: Envelope) -> bool:
        await orders.add(order("one"))
        return True

    bench.handler._approvals = yes
    bench.put("one", attempt=2, release="r1", case="c1")
    await bench.consumer.start()
    await bench.settled()
    (record,) = bench.memory.records.values()
    assert (ran, record.status) == ([], Status.CANCELLED)
