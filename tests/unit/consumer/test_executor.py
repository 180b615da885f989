"""Running one attempt: whatever user code does becomes an outcome."""

from __future__ import annotations

import asyncio
import contextvars
import json
import threading
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
import structlog

from rabbitjobs.clock import now
from rabbitjobs.consumer.context import Context, current
from rabbitjobs.consumer.executor import Executor
from rabbitjobs.consumer.failure import MESSAGE_KEPT, TRACEBACK_KEPT
from rabbitjobs.consumer.pools.choice import Pools
from rabbitjobs.consumer.pools.protocol import PoolOptions
from rabbitjobs.ending.settlement import Outcome
from rabbitjobs.errors import WorkerError
from rabbitjobs.job.definition import Definition, define
from rabbitjobs.job.registry import Registry
from rabbitjobs.job.signals import Ignore, Retry, Review, Signal
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.policy.decision import Failure


class Bench:
    """Runs functions as jobs."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.progress: list[tuple[str, bytes]] = []
        self.executor = Executor(
            self.registry,
            Pools(lambda _name: PoolOptions(size=2)),
            note_progress=lambda *what: self.progress.append(what),
        )

    async def run(
        self,
        function: Callable[..., Any],
        body: bytes = b"{}",
        *,
        ignore: bool = False,
        **more: Any,
    ) -> Outcome:
        """Run one attempt of ``function``."""
        definition = define(
            function, name="job", queue="q", retry=None, rules=(), ignore_result=ignore
        )
        self.registry._jobs["job"] = definition
        return await self.execute(body=body, **more)

    async def execute(self, **more: Any) -> Outcome:
        """Run one attempt of what is registered."""
        envelope = Envelope(**({"id": "i", "job": "job", "queue": "q", "body": b"{}"} | more))
        return await self.executor.execute(envelope)

    async def failure(self, function: Callable[..., Any], body: bytes = b"{}") -> Failure:
        """How it failed."""
        outcome = await self.run(function, body)
        assert outcome.result is None
        assert outcome.failure is not None
        return outcome.failure


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """An executor."""
    bench = Bench()
    yield bench
    bench.executor.stop()


async def test_functions_run_on_threads_and_coroutines_on_the_loop(bench: Bench) -> None:
    """The result is encoded for the store."""

    def there(a: int) -> list[str]:
        return [threading.current_thread().name, str(a)]

    async def here(a: int) -> list[str]:
        return [threading.current_thread().name, str(a)]

    body = b'{"args":[7]}'
    assert (await bench.run(there, body)).result == b'["rabbitjobs-job_0","7"]'
    assert (await bench.run(here, body)).result == b'["MainThread","7"]'
    assert (await bench.run(here, body, ignore=True)).result is None


async def test_an_outcome_says_when_it_ran(bench: Bench) -> None:
    """In unix seconds."""
    before = now()
    outcome = await bench.run(lambda: None)
    assert before <= outcome.started <= outcome.ended <= now()
    assert outcome.failure is None


class Broken(Exception):
    """An error whose text fails."""

    def __str__(self) -> str:
        raise SystemExit("no text")


class Nameless(Signal):
    """A signal that is none of the three."""


class Hollow(Retry):
    """A retry that never called its base."""

    def __init__(self) -> None:
        pass


def raiser(error: BaseException, *, on_loop: bool) -> Callable[[], Any]:
    """A job that raises."""

    def there() -> None:
        raise error

    async def here() -> None:
        raise error

    return here if on_loop else there


@pytest.mark.parametrize("on_loop", [False, True])
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("no"), "ValueError"),
        (SystemExit(3), "SystemExit"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (asyncio.CancelledError("mine"), "asyncio.exceptions.CancelledError"),
        (BaseException("bare"), "BaseException"),
        (GeneratorExit(), "GeneratorExit"),
        (ExceptionGroup("many", [ValueError("a"), KeyError("b")]), "ExceptionGroup"),
        (Broken(), f"{__name__}.Broken"),
        (Nameless("odd"), f"{__name__}.Nameless"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "UnicodeDecodeError"),
        (OSError("caf\udce9"), "OSError"),
    ],
)
async def test_whatever_a_job_raises_is_a_failure_and_never_ours(
    bench: Bench, error: BaseException, kind: str, on_loop: bool
) -> None:
    """The worker goes on, and every text of it can be stored and sent."""
    failure = await bench.failure(raiser(error, on_loop=on_loop))
    assert (failure.kind, failure.error_type) == ("error", kind)
    assert failure.classes[0] == kind
    assert failure.error.encode() is not None
    assert failure.traceback.encode()
    assert (await bench.run(lambda: 5)).result == b"5"


@pytest.mark.parametrize("on_loop", [False, True])
async def test_stop_iteration_is_a_failure_too(bench: Bench, on_loop: bool) -> None:
    """It cannot be raised into a future; Python itself makes it a RuntimeError in a coroutine."""
    failure = await bench.failure(raiser(StopIteration(1), on_loop=on_loop))
    assert failure.error_type == ("RuntimeError" if on_loop else "StopIteration")


async def test_a_traceback_starts_in_user_code_and_is_capped(bench: Bench) -> None:
    """The worker's own frames tell a reader nothing."""

    def deep(n: int) -> None:
        if n:
            deep(n - 1)
        raise ValueError("x" * 10_000)

    failure = await bench.failure(deep, b'{"args":[0]}')
    assert "/rabbitjobs/consumer/" not in failure.traceback
    assert "in deep" in failure.traceback
    assert len(failure.error) == MESSAGE_KEPT
    assert len(failure.traceback) <= TRACEBACK_KEPT + 10
    assert (await bench.failure(deep, b'{"args":[5000]}')).error_type == "RecursionError"


@pytest.mark.parametrize(
    ("raised", "signal", "delay", "error"),
    [
        (Retry("later", delay=timedelta(minutes=1)), "retry", 60.0, "later"),
        (Retry("now", delay=timedelta(0)), "retry", 0.0, "now"),
        (Retry(), "retry", None, ""),
        (Ignore("known"), "ignore", None, "known"),
        (Review("look"), "review", None, "look"),
        (Hollow(), "retry", None, ""),
    ],
)
async def test_signals_are_told_from_errors(
    bench: Bench, raised: Signal, signal: str, delay: float | None, error: str
) -> None:
    """With the delay that they ask for; no delay at all is a wish too."""
    failure = await bench.failure(raiser(raised, on_loop=False))
    assert (failure.kind, failure.signal) == ("signal", signal)
    assert (failure.delay, failure.error) == (delay, error)


async def test_a_signal_names_the_error_behind_it(bench: Bench) -> None:
    """``raise Retry from error``."""

    def job() -> None:
        try:
            raise KeyError("behind")
        except KeyError as error:
            raise Retry from error

    failure = await bench.failure(job)
    assert (failure.error_type, failure.error) == ("KeyError", "'behind'")
    assert failure.classes[0] == "rabbitjobs.job.signals.Retry"


@pytest.mark.parametrize("result", [object(), {1, 2}.__iter__(), "\ud800", {(1, 2): 3}])
async def test_a_result_that_cannot_be_stored_is_a_failure(bench: Bench, result: object) -> None:
    """The job's work is done; a person must know that its result is lost."""
    failure = await bench.failure(lambda: result)
    assert "the return value cannot be stored" in failure.error


@pytest.mark.parametrize(
    "body", [b"", b"null", b'{"args":["1"]}', b'{"kwargs":{"b":1}}', b'{"args":[1,2]}', b"\xff"]
)
async def test_wrong_arguments_run_nothing(bench: Bench, body: bytes) -> None:
    """They are their own kind of failure."""
    ran: list[int] = []

    def job(a: int) -> None:
        ran.append(a)

    assert (await bench.failure(job, body)).kind == "arguments"
    assert ran == []


async def test_an_expired_job_is_not_run(bench: Bench) -> None:
    """Not even if it is unknown."""
    outcome = await bench.execute(expires=now() - 1)
    assert outcome.failure is not None
    assert outcome.failure.kind == "expired"
    outcome = await bench.run(lambda: 1, expires=now() + 60)
    assert outcome.result == b"1"


async def test_an_unknown_job_is_its_own_failure(bench: Bench) -> None:
    """One whose code is elsewhere, too."""
    for known in (False, True):
        if known:
            bench.registry.add(Definition(name="job", queue="q"))
        outcome = await bench.execute()
        assert outcome.failure is not None
        assert outcome.failure.kind == "unknown-job"


async def test_the_context_is_injected_and_current(bench: Bench) -> None:
    """Also on a thread, by a parameter and by ``current()``."""

    def there(ctx: Context, a: int) -> list[Any]:
        current().progress(1, 2, "half")
        return [ctx is current(), ctx.job_id, ctx.attempt, a]

    async def here(a: int, *, ctx: Context) -> list[Any]:
        return [ctx is current(), ctx.job_id, ctx.attempt, a]

    for job in (there, here):
        running = asyncio.create_task(bench.run(job, b'{"args":[7]}', attempt=3))
        assert (await running).result == b'[true,"i",3,7]'
    assert bench.progress == [("i", b'{"done":1,"total":2,"note":"half"}')]
    with pytest.raises(WorkerError):
        current()


async def test_context_variables_of_one_job_are_not_seen_by_another(bench: Bench) -> None:
    """Each attempt has a copy; the log's bindings are the job's own."""
    mark: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="clean")

    def job(a: str) -> list[str]:
        seen = mark.get()
        mark.set(a)
        return [seen, structlog.contextvars.get_contextvars()["job_id"]]

    async def attempt(number: int) -> Outcome:
        return await bench.run(job, f'{{"args":["{number}"]}}'.encode(), id=f"i{number}")

    outcomes = await asyncio.gather(*(asyncio.create_task(attempt(n)) for n in range(4)))
    assert [one.result for one in outcomes] == [f'["clean","i{n}"]'.encode() for n in range(4)]


async def test_every_line_that_a_job_logs_says_which_job_it_is(bench: Bench) -> None:
    """For every configuration of structlog that merges its context variables, and only there."""

    async def job() -> dict[str, Any]:
        structlog.contextvars.bind_contextvars(order=7)
        structlog.contextvars.unbind_contextvars("attempt")
        return structlog.contextvars.get_contextvars()

    with structlog.contextvars.bound_contextvars(service="s", job_id="the service's"):
        outcome = await asyncio.create_task(bench.run(job, id="i"))
        assert structlog.contextvars.get_contextvars() == {
            "service": "s",
            "job_id": "the service's",
        }
    assert outcome.result is not None
    assert json.loads(outcome.result) == {"service": "s", "job": "job", "job_id": "i", "order": 7}
    assert structlog.contextvars.get_contextvars() == {}


async def test_progress_of_a_job_whose_result_is_ignored_goes_nowhere(bench: Bench) -> None:
    """There is no row that it could stand in."""

    async def job(ctx: Context) -> None:
        ctx.progress(1, 2)

    assert (await bench.run(job, ignore=True)).failure is None
    assert bench.progress == []


async def test_a_job_that_cancels_its_own_task_is_ended_like_any_other(bench: Bench) -> None:
    """Its cancellation must not reach the ending that follows."""

    async def cancels() -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        return "done"

    async def carry() -> Outcome:
        outcome = await bench.run(cancels)
        await asyncio.sleep(0)  # the store would be awaited here
        return outcome

    assert (await asyncio.create_task(carry())).result == b'"done"'


async def test_a_stopped_executor_lets_its_cancelled_jobs_go(bench: Bench) -> None:
    """They have not ended: the broker delivers them again."""
    started = asyncio.Event()

    async def waits() -> None:
        started.set()
        await asyncio.sleep(3600)

    running = asyncio.create_task(bench.run(waits))
    await started.wait()
    bench.executor.stop()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
