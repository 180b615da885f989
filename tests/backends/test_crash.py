"""kill -9 between the steps: nothing is lost, nothing is released twice.

The process that dies is a real one; what it leaves is read by another.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
from sqlalchemy import text

from rabbitjobs.backend.protocol import Record, Status
from rabbitjobs.backend.sql import SqlBackend
from rabbitjobs.clock import now, uuid7
from rabbitjobs.review.desk import Desk
from rabbitjobs.review.intake import FailedMessage, take_in
from rabbitjobs.store.engine import Store
from rabbitjobs.store.outbox import Outbox, OutboxRow

PRELUDE = """
import os, sys, signal
from rabbitjobs.review.desk import Desk
from rabbitjobs.store.engine import Store
from rabbitjobs.store import outbox as outbox_module
url, namespace, case_id, where = sys.argv[1:]
store = Store(url, namespace=namespace)
def die():
    os.kill(os.getpid(), signal.SIGKILL)
def publish(row):
    print(row.envelope.attempt, row.release_id, flush=True)
    if where == "published":
        die()
if where == "before commit":
    from rabbitjobs.review import release
    release.rows.note = lambda *args, **kw: die()
if where == "committed":
    def publish(row):
        die()
if where == "marked":
    outbox_module._mark_released = lambda *args, **kw: die()
Desk(store, publish, lambda job, body: None).retry(case_id, who="ann", version=1)
"""


@pytest.mark.parametrize("where", ["before commit", "committed", "published", "marked"])
def test_a_release_survives_kill_9_at_every_step(
    store_url: str, store: Store, failed: Callable[..., FailedMessage], where: str
) -> None:
    """Before the commit nothing has happened; after it the relay finishes the same attempt."""
    case_id = take_in(store, failed(uuid7(), 3))
    dead = subprocess.run(
        [sys.executable, "-c", PRELUDE, store_url, store.namespace, case_id, where],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert dead.returncode == -9, dead.stderr
    sent: list[OutboxRow] = []
    desk = Desk(store, sent.append, lambda _job, _body: None)
    case = desk.get(case_id)
    if where == "before commit":
        assert (case.state, case.version, Outbox(store).waiting()) == ("open", 1, 0)
        assert desk.retry(case_id, who="bob", version=1).release_attempt == 4
        return
    assert case.state == "releasing"
    store.run(lambda c: c.execute(text("UPDATE rj_outbox SET leased_until = 0")))
    relay = Outbox(store)
    (row,) = relay.take()
    assert (row.envelope.attempt, row.release_id) == (4, case.release_id)
    if where != "committed":  # it was published before: the second copy is the same attempt
        assert dead.stdout.split() == ["4", case.release_id]
    relay.published([row])
    assert desk.get(case_id).state == "released"


async def test_the_second_copy_of_a_release_is_dropped(
    backend: SqlBackend,
    store: Store,
    failed: Callable[..., FailedMessage],
    outcome: Callable[..., Record],
) -> None:
    """Both copies carry the same attempt: one outcome is recorded, the case closes once."""
    job = uuid7()
    case_id = take_in(store, failed(job, 3))
    desk = Desk(store, lambda _row: None, lambda _job, _body: None)
    release = desk.retry(case_id, who="ann", version=1).release_id
    first = outcome(job, 4, case=case_id, release=release, ended=1.0, keep=1e12)
    second = outcome(job, 4, case=case_id, release=release, status=Status.FAILED, ended=2.0)
    assert [await backend.record(first), await backend.record(second)] == [True, False]
    assert desk.get(case_id).outcome == "succeeded after release"
    assert [row.action for row in desk.audit(case_id)].count("close") == 1


@pytest.mark.parametrize(
    ("status", "again"),
    [(Status.SUCCEEDED, 0), (Status.FAILED, 0), (Status.IN_REVIEW, 0), (Status.RETRYING, 1)],
)
async def test_a_release_that_came_is_not_sent_again_a_month_later(
    store_url: str,
    backend: SqlBackend,
    store: Store,
    failed: Callable[..., FailedMessage],
    outcome: Callable[..., Record],
    status: Status,
    again: int,
) -> None:
    """Its process died before it crossed the promise out, and no relay was there meanwhile.

    While its job is retried the promise stays, and with the case the inbox row that drops a copy.
    """
    job = uuid7()
    case_id = take_in(store, failed(job, 3))
    dead = subprocess.run(
        [sys.executable, "-c", PRELUDE, store_url, store.namespace, case_id, "published"],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert dead.returncode == -9, dead.stderr
    release = Desk(store, lambda _row: None, lambda _job, _body: None).get(case_id).release_id
    await backend.record(outcome(job, 4, case=case_id, release=release, status=status))
    backend.clean(now() + 31 * 86400)
    store.run(lambda c: c.execute(text("UPDATE rj_outbox SET leased_until = 0")))
    assert len(Outbox(store).take()) == again
    assert (await backend.recorded(job, 4) is not None) == (not status.final)


RECORDER = """
import asyncio, os, signal, sys
from rabbitjobs.backend.protocol import Record, Status
from rabbitjobs.backend.sql import SqlBackend
from rabbitjobs.store.engine import Store
url, namespace = sys.argv[1:]
backend = SqlBackend(Store(url, namespace=namespace))
async def one(number):
    record = Record(job_id=f"job-{number}", attempt=1, job="j", queue="q",
        status=Status.SUCCEEDED, enqueued=1.0, started=1.0, ended=1.0, keep=1e12)
    assert await backend.record(record)
    os.write(1, b"%d\\n" % number)
    if number == 700:
        os.kill(os.getpid(), signal.SIGKILL)
async def main():
    await asyncio.gather(*(one(n) for n in range(2500)))
asyncio.run(main())
"""


async def test_what_record_returned_from_is_there_after_kill_9(
    store_url: str, store: Store, backend: SqlBackend
) -> None:
    """Every outcome that was confirmed to the caller is in the store (the ledger is its stdout)."""
    store.migrate()
    dead = _run_recorder(store_url, store.namespace)
    assert dead.returncode == -9, dead.stderr
    confirmed = dead.stdout.split()
    assert confirmed
    lost = [n for n in confirmed if await backend.recorded(f"job-{n.decode()}", 1) is None]
    assert lost == []


def _run_recorder(store_url: str, namespace: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", RECORDER, store_url, namespace],
        capture_output=True,
        timeout=60,
        check=False,
    )
