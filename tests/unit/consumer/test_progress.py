"""Progress on its way: into the row of the job, and to who wants the events of each job."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from rabbitjobs import JobHandle, events
from rabbitjobs.backend.protocol import Progress, Recorder, Results, Status, Stored
from rabbitjobs.consumer.context import Context
from rabbitjobs.consumer.progress import Progressing
from rabbitjobs.job.definition import define
from rabbitjobs.job.registry import Registry
from rabbitjobs.message.envelope import Envelope


class Rows:
    """A recorder that keeps the progress it is given."""

    def __init__(self) -> None:
        self.noted: list[str] = []

    def progress(self, job_id: str, _progress: bytes) -> None:
        """Keep whose it is."""
        self.noted.append(job_id)


class Bench:
    """Progress of a job that keeps its result, and one that does not; both run."""

    def __init__(self) -> None:
        self.rows, self.bus, registry = Rows(), events.Bus(), Registry()
        for name in ("kept", "ignored"):
            registry.add(
                define(
                    lambda: None, name=name, queue="q", retry=None, rules=(),
                    ignore_result=name == "ignored",
                )
            )  # fmt: skip
        self.envelopes = {
            f"{name}-id": Envelope(id=f"{name}-id", job=name, queue="q", body=b"{}", attempt=2)
            for name in ("kept", "ignored")
        }
        recorder = cast("Recorder", self.rows)
        self.ways = Progressing(registry, recorder, self.bus, self.envelopes.get)
        self.ways.start()
        self.seen: list[events.Event] = []

    def listen(self) -> None:
        """Want the events of each job."""
        self.bus.listen(self.seen.append)

    def say(self, job_id: str, way: Callable[[str, bytes], None]) -> None:
        """Have a job say how far it is."""
        Context(self.envelopes[job_id], way).progress(1, 4, "on")


@pytest.fixture
async def bench() -> Bench:
    """The ways of progress on this loop."""
    return Bench()


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("job_id", ["kept-id", "ignored-id"])
async def test_it_goes_to_the_row_and_to_who_listens(
    bench: Bench, job_id: str, elsewhere: bool
) -> None:
    """A job that keeps no result has no row; one in a child process is treated no other."""
    bench.listen()
    here = bench.ways.note if job_id == "kept-id" else bench.ways.tell
    bench.say(job_id, bench.ways.heard if elsewhere else here)
    await asyncio.sleep(0)
    (event,) = bench.seen
    assert isinstance(event, events.JobProgress)
    assert (event.job_id, event.attempt, event.done, event.total, event.note) == (
        (job_id, 2, 1, 4, "on")
    )
    assert bench.rows.noted == (["kept-id"] if job_id == "kept-id" else [])


async def test_it_is_told_on_the_loop_from_any_thread(bench: Bench) -> None:
    """A hook need not mind threads."""
    bench.listen()
    await asyncio.to_thread(bench.say, "kept-id", bench.ways.note)
    await asyncio.sleep(0)
    assert len(bench.seen) == 1


async def test_no_event_is_built_that_nobody_wants_or_that_comes_too_late(bench: Bench) -> None:
    """Its row is written all the same."""
    bench.bus.listen(bench.seen.append, each=False)
    bench.say("kept-id", bench.ways.note)
    await asyncio.sleep(0)
    bench.bus.want_each(bench.seen.append, True)
    bench.listen()
    way, envelope = bench.ways.note, bench.envelopes["kept-id"]
    del bench.envelopes["kept-id"]
    Context(envelope, way).progress(4, 4)
    await asyncio.sleep(0)
    assert bench.seen == []
    assert bench.rows.noted == ["kept-id", "kept-id"]


# --- reading it -----------------------------------------------------------------------------------


class Known:
    """Results of one job."""

    def __init__(self, stored: Stored | None) -> None:
        self.stored = stored

    def get(self, _job_id: str) -> Stored | None:
        """What is known."""
        return self.stored

    async def aget(self, _job_id: str) -> Stored | None:
        """The a-twin."""
        return self.stored


@pytest.mark.parametrize(
    ("said", "expected", "share"),
    [
        (None, None, None),
        (b'{"done":1,"total":4,"note":"on"}', Progress(1, 4, "on"), 0.25),
        (b'{"done":0.5,"total":null,"note":""}', Progress(0.5), None),
        (b'{"done":5,"total":4,"note":""}', Progress(5, 4), 1.0),
        (b'{"done":5,"total":0,"note":""}', Progress(5, 0), None),
        (b'{"done":null,"total":4,"note":""}', None, None),
    ],
)
async def test_a_handle_reads_what_was_said_last(
    said: bytes | None, expected: Progress | None, share: float | None
) -> None:
    """As a value; the share is between 0 and 1."""
    row = Stored(job_id="i", job="j", queue="q", status=Status.RUNNING, attempt=1, progress=said)
    handle: JobHandle[Any] = JobHandle("i", lambda: cast("Results", Known(row)))
    assert handle.progress() == await handle.aprogress() == expected
    assert (expected.share if expected else None) == share


@pytest.mark.parametrize("results", [None, Known(None)])
async def test_a_handle_of_which_nothing_is_known_reads_nothing(results: Known | None) -> None:
    """Without a store, or before the job runs."""
    handle: JobHandle[Any] = JobHandle("i", lambda: results)
    assert handle.progress() is None
    assert await handle.aprogress() is None
