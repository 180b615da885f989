"""Jobs: defined once, sent in many ways, read by a handle."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from rabbitjobs.backend.protocol import Status, Stored
from rabbitjobs.consumer.context import Context
from rabbitjobs.errors import (
    ArgumentsRefused,
    JobFailed,
    NoResult,
    RegistrationError,
    ResultIgnored,
    ResultTimeout,
    SyncInAsync,
)
from rabbitjobs.job.call import Call, Options
from rabbitjobs.job.definition import Definition, Job, define
from rabbitjobs.job.handle import JobHandle
from rabbitjobs.job.registry import Registry
from rabbitjobs.job.signals import Ignore, Retry
from rabbitjobs.policy import rules


class Recording:
    """A sender that keeps what it is given."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def send(self, call: Call) -> JobHandle[Any]:
        """Keep it."""
        self.calls.append(call)
        return JobHandle("1", sent=True)

    async def asend(self, call: Call) -> JobHandle[Any]:
        """Keep it."""
        return self.send(call)


class Shelf:
    """Results that come one after another."""

    def __init__(self, *stored: Stored | None) -> None:
        self.stored = list(stored)

    def get(self, job_id: str) -> Stored | None:
        """The next, and the last one for ever."""
        return self.stored.pop(0) if len(self.stored) > 1 else self.stored[0]

    async def aget(self, job_id: str) -> Stored | None:
        """See ``get``."""
        return self.get(job_id)


def mail(order: int, to: str = "") -> str:
    """A job."""
    return f"{order}{to}"


def defined(function: Any = mail, **changes: Any) -> Definition:
    """A definition."""
    values: dict[str, Any] = {"name": None, "queue": "emails", "retry": None, "rules": ()}
    return define(function, ignore_result=False, **(values | changes))


def job() -> tuple[Job[..., Any], Recording]:
    """A job and what it sends by."""
    sender = Recording()
    return Job(defined(), sender), sender


def test_a_job_is_named_after_its_function_or_as_told() -> None:
    """The module's name is part of it."""
    assert defined().name == f"{__name__}.mail"
    assert defined(name="우편").name == "우편"


@pytest.mark.parametrize("name", ["x" * 256, "우" * 86])
def test_a_name_ends_where_amqp_ends(name: str) -> None:
    """At 255 bytes."""
    with pytest.raises(RegistrationError, match="255"):
        defined(name=name)


def test_async_functions_are_told_from_others() -> None:
    """They run on the loop, the others on threads."""

    async def later() -> None: ...

    assert defined(later).is_async
    assert not defined().is_async


def test_a_job_can_be_called_here() -> None:
    """It is still the function; a context that is not given is one of no worker."""

    def told(ctx: Context, order: int) -> tuple[int, int]:
        ctx.progress(1)
        return ctx.attempt, order

    assert job()[0](7, to="a") == "7a"
    one: Job[..., Any] = Job(defined(told), Recording())
    assert one(5) == (1, 5)


def test_a_remote_job_cannot_be_called_here() -> None:
    """Its code is elsewhere, and its arguments are checked there."""
    sender = Recording()
    remote: Job[..., Any] = Job(Definition(name="far", queue="q"), sender)
    with pytest.raises(RegistrationError):
        remote(1)
    remote.send(1, anything="goes")
    assert sender.calls[0].body == b'{"args":[1],"kwargs":{"anything":"goes"}}'


async def test_send_and_asend_hand_over_the_checked_call() -> None:
    """Wrong arguments are refused before the sender hears of anything."""
    one, sender = job()
    one.send(1, to="a")
    await one.asend(2)
    assert [call.body for call in sender.calls] == [
        b'{"args":[1],"kwargs":{"to":"a"}}',
        b'{"args":[2],"kwargs":{}}',
    ]
    with pytest.raises(ArgumentsRefused) as refused:
        one.send("1")
    assert (refused.value.job, refused.value.queue) == (one.name, "emails")
    assert len(sender.calls) == 2


def test_options_make_another_job_and_leave_the_first_as_it_was() -> None:
    """They add up: what was said before stays."""
    one, sender = job()
    soon = one.options(delay=timedelta(seconds=5), queue="slow")
    soon.options(priority="high", timeout=timedelta(seconds=2)).send(1)
    one.send(2)
    assert sender.calls[0].options == Options(
        delay=timedelta(seconds=5), queue="slow", priority="high", timeout=2.0
    )
    assert sender.calls[1].options == Options()


NOW = datetime.now(UTC)


@pytest.mark.parametrize(
    "options",
    [
        {"delay": timedelta(seconds=1), "at": NOW},
        {"at": datetime(2026, 1, 1)},  # noqa: DTZ001
        {"expires": datetime(2026, 1, 1)},  # noqa: DTZ001
        {"unique": "k", "tx": object()},
        {"delay": 5},
        {"at": "tomorrow"},
        {"expires": 60},
        {"timeout": "5s"},
        {"delay": timedelta(seconds=-1)},
        {"expires": timedelta(seconds=-1)},
        {"timeout": -1},
        {"timeout": float("nan")},
        {"id": 7},
        {"id": ""},
        {"id": "x" * 256},
        {"unique": "우" * 86},
        {"queue": ""},
        {"priority": 5},
        {"on_done": "https://a.example/" + "x" * 5000},
    ],
)
def test_wrong_options_are_refused_with_the_jobs_name(options: dict[str, Any]) -> None:
    """Before anything is sent."""
    with pytest.raises(ArgumentsRefused) as refused:
        job()[0].options(**options)
    assert refused.value.job == f"{__name__}.mail"


def test_a_negative_duration_is_named_and_a_moment_that_has_passed_is_none() -> None:
    """It is a mistake of arithmetic; a moment that has passed means now."""
    with pytest.raises(ArgumentsRefused, match="expected delay of 0 s or more, got -90 s"):
        job()[0].options(delay=timedelta(seconds=-90))
    job()[0].options(at=NOW - timedelta(days=1), expires=NOW - timedelta(days=1))
    job()[0].options(delay=timedelta(), timeout=0)


def test_contradictions_are_found_across_two_options() -> None:
    """The second call knows of the first."""
    with pytest.raises(ArgumentsRefused, match="got both"):
        job()[0].options(at=NOW).options(delay=timedelta(seconds=1))


def test_an_unknown_option_is_an_error() -> None:
    """As any unknown argument."""
    with pytest.raises(TypeError, match="dealy"):
        job()[0].options(dealy=5)  # type: ignore[call-arg]


def test_a_registry_holds_one_function_for_each_name() -> None:
    """The same file imported twice is no conflict, another function is."""
    registry = Registry()
    registry.add(defined(name="a"))
    registry.add(defined(name="a"))
    registry.add(defined(name="b", queue="slow"))
    assert len(registry) == 2
    assert [one.name for one in registry] == ["a", "b"]
    assert registry.queues() == ("emails", "slow")
    assert registry.get("a") is not None
    assert registry.get("c") is None

    def other() -> None: ...

    with pytest.raises(RegistrationError, match="name="):
        registry.add(defined(other, name="a"))


def test_signals_carry_a_reason_and_a_retry_a_delay() -> None:
    """A delay without its unit would be a guess."""
    assert Ignore(404).reason == "404"  # type: ignore[arg-type]
    assert Retry("later", delay=timedelta(0)).delay == timedelta(0)
    with pytest.raises(TypeError, match="timedelta"):
        Retry(delay=5)  # type: ignore[arg-type]


def stored(status: Status, **changes: Any) -> Stored:
    """What a backend knows."""
    return Stored(job_id="1", job="mail", queue="emails", status=status, attempt=1, **changes)


def handle(*states: Stored | None, returns: Any = Any, sent: bool = False) -> JobHandle[Any]:
    """A handle on these states, one after the other."""
    shelf = Shelf(*states)
    return JobHandle("1", lambda: shelf, returns=returns, sent=sent)


DONE = stored(Status.SUCCEEDED, result=b"[1,2]")


async def test_a_result_is_waited_for() -> None:
    """Through retries, and through a case on the desk."""
    states = [None, stored(Status.RETRYING), stored(Status.IN_REVIEW), DONE]
    assert await handle(*states, returns=tuple[int, int]).aresult() == (1, 2)
    assert await asyncio.to_thread(handle(*states).result, 5) == [1, 2]


async def test_a_wait_ends_at_its_timeout() -> None:
    """The job may still end."""
    running = handle(stored(Status.RUNNING))
    with pytest.raises(ResultTimeout) as late:
        await running.aresult(timeout=0.01)
    assert late.value.job_id == "1"
    with pytest.raises(TimeoutError):
        await asyncio.to_thread(running.result, 0)


@pytest.mark.parametrize("status", [one for one in Status if one.final and one != "succeeded"])
async def test_a_job_that_ended_otherwise_is_an_error_of_plain_data(status: Status) -> None:
    """Nothing is rebuilt by import."""
    failed = stored(status, error_type="a.B", error="no", traceback="tb")
    with pytest.raises(JobFailed) as ended:
        await handle(failed).aresult()
    error = ended.value
    assert (error.state, error.error_type, error.error) == (status.value, "a.B", "no")
    assert (error.traceback, error.queue, error.job, error.job_id) == ("tb", "emails", "mail", "1")


async def test_there_may_be_no_result() -> None:
    """Nowhere to read it, none kept, or one of another type: an answer at once, never a hang."""
    with pytest.raises(NoResult, match="store"):
        await JobHandle("1", sent=True).aresult()
    with pytest.raises(NoResult, match="store"):
        await asyncio.to_thread(JobHandle("1").result)
    with pytest.raises(NoResult, match="keeps no result"):
        await handle(stored(Status.SUCCEEDED)).aresult()
    with pytest.raises(NoResult, match="type"):
        await handle(DONE, returns=int).aresult()


async def test_a_job_that_ignores_its_result_is_not_waited_for() -> None:
    """The error comes at once and says why, though a wait would have no end."""
    ignored: JobHandle[None] = JobHandle(
        "1", lambda: Shelf(None), sent=True, job="mail", ignored=True
    )
    with pytest.raises(ResultIgnored, match="ignore_result=True"):
        await ignored.aresult()
    with pytest.raises(NoResult) as none:
        await asyncio.to_thread(ignored.result)
    assert (none.value.job, none.value.job_id) == ("mail", "1")
    assert ignored.status() is Status.QUEUED


async def test_the_status_of_what_nobody_knows() -> None:
    """A handle from ``send`` knows that its message was confirmed."""
    assert handle(None).status() is Status.UNKNOWN
    assert await handle(None, sent=True).astatus() is Status.QUEUED
    assert await handle(DONE).astatus() is Status.SUCCEEDED
    assert handle(DONE).info() == await handle(DONE).ainfo() == DONE


async def test_waiting_in_a_running_loop_is_refused() -> None:
    """It would stop everything else there."""
    with pytest.raises(SyncInAsync, match="aresult"):
        handle(DONE).result()


def test_rules_of_a_job_are_part_of_its_definition() -> None:
    """In their order."""
    given = (rules.ignore(on=KeyError), rules.retry("gentle"))
    assert defined(rules=given).rules == given
    assert msgspec.structs.asdict(defined())["retry"] is None
