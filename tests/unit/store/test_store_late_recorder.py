"""A recorder that is made when it is needed: nothing is lost or out of order meanwhile."""

from __future__ import annotations

import asyncio
import threading

import msgspec
import pytest

from rabbitjobs.backend.late import LateRecorder
from rabbitjobs.backend.protocol import Record, Status
from rabbitjobs.errors import StoreUnavailable

SUCCESS = Record(
    job_id="1",
    attempt=1,
    job="j",
    queue="q",
    status=Status.SUCCEEDED,
    enqueued=0.0,
    started=0.0,
    ended=0.0,
    keep=1.0,
)
NO_TRACE = msgspec.structs.replace(SUCCESS, keep_result=False)


class Book:
    """A recorder that keeps what it is told, in order."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def recorded(self, job_id: str, attempt: int) -> bytes | None:
        """See ``Recorder``."""
        self.told.append(f"recorded {job_id}")
        return b"known"

    async def record(self, record: Record) -> bool:
        """See ``Recorder``."""
        self.told.append(f"record {record.job_id}")
        return True

    def running(self, record: Record) -> None:
        """See ``Recorder``."""
        self.told.append(f"running {record.job_id}")

    def progress(self, job_id: str, progress: bytes) -> None:
        """See ``Recorder``."""
        self.told.append(f"progress {job_id}")


def test_endings_wait_and_notes_come_before_them() -> None:
    """What was noted while it was made is handed over first, and in its order."""
    book, go = Book(), threading.Event()

    def make() -> Book:
        assert go.wait(60)
        return book

    async def main() -> None:
        late = LateRecorder(make)
        late.running(SUCCESS)
        late.progress("1", b"")
        ending = asyncio.create_task(late.record(SUCCESS))
        await asyncio.sleep(0)
        assert not ending.done()
        go.set()
        assert await ending
        late.running(SUCCESS)
        assert await late.recorded("1", 1) == b"known"

    asyncio.run(main())
    assert book.told == ["running 1", "progress 1", "record 1", "running 1", "recorded 1"]


def test_jobs_that_leave_no_trace_do_not_make_it() -> None:
    """Their successes, and the notes that nobody would write; a look-up makes it."""
    made: list[Book] = []

    def make() -> Book:
        made.append(Book())
        return made[-1]

    async def main() -> None:
        late = LateRecorder(make)
        late.running(NO_TRACE)
        assert await late.record(NO_TRACE)
        assert made == []
        assert await late.recorded("1", 2) == b"known"
        assert await late.record(NO_TRACE)

    asyncio.run(main())
    assert [book.told for book in made] == [["recorded 1", "record 1"]]


@pytest.mark.parametrize(
    "changed", [{"attempt": 2}, {"noted": True}, {"unique": "k"}, {"status": Status.FAILED}]
)
def test_what_leaves_a_trace_makes_it(changed: dict[str, object]) -> None:
    """A second attempt, a note, a key to let go, a failure."""
    book = Book()
    record = msgspec.structs.replace(NO_TRACE, **changed)
    assert asyncio.run(_record(LateRecorder(lambda: book), record))
    assert book.told == ["record 1"]


async def _record(late: LateRecorder, record: Record) -> bool:
    return await late.record(record)


def test_a_fault_while_it_is_made_is_told_and_the_next_use_tries_again() -> None:
    """The notes are kept for then."""
    book = Book()
    answers: list[Book | Exception] = [StoreUnavailable("expected a store, got none"), book]

    def make() -> Book:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def main() -> None:
        late = LateRecorder(make)
        with pytest.raises(StoreUnavailable):
            await late.recorded("1", 1)
        assert await late.record(SUCCESS)

    asyncio.run(main())
    assert book.told == ["record 1"]
    assert not answers


def test_a_note_that_fails_holds_up_no_ending_and_no_other_note(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A note may be lost, and it is said."""
    book = Book()

    def refuse(record: Record) -> None:
        raise RuntimeError(f"not {record.job_id}")

    async def main() -> None:
        late = LateRecorder(lambda: book)
        late.running(SUCCESS)
        late.progress("1", b"")
        async with asyncio.timeout(60):
            assert await late.record(SUCCESS)

    monkeypatch.setattr(book, "running", refuse)
    asyncio.run(main())
    assert book.told == ["progress 1", "record 1"]
    assert "not 1" in caplog.text


def test_a_waiter_that_is_cancelled_leaves_the_others_waiting() -> None:
    """As an abandoned job is, when its worker is told to stop at once."""
    book, go = Book(), threading.Event()

    def make() -> Book:
        assert go.wait(60)
        return book

    async def main() -> None:
        late = LateRecorder(make)
        abandoned = asyncio.create_task(late.record(SUCCESS))
        other = asyncio.create_task(late.record(SUCCESS))
        await asyncio.sleep(0)
        abandoned.cancel()
        await asyncio.wait({abandoned})
        go.set()
        assert await other
        assert abandoned.cancelled()

    asyncio.run(main())
    assert book.told == ["record 1"]
