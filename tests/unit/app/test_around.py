"""What an app puts around its jobs, and who is told of what happens to them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from rabbitjobs import Context, RabbitJobs, events
from rabbitjobs.app.children import program_of, registry
from rabbitjobs.clock import now
from rabbitjobs.consumer import context as context_module
from rabbitjobs.consumer.context import enter
from rabbitjobs.errors import RegistrationError, WorkerError
from rabbitjobs.job.definition import Definition
from rabbitjobs.message.envelope import Envelope

Steps = list[str]


def running(app: RabbitJobs, name: str) -> Definition:
    """The job as a worker runs it."""
    found = app.registry.get(name)
    assert found is not None
    return found


def begin(attempt: int = 1) -> Context:
    """Be inside of an attempt, as a pool is when it calls the function."""
    envelope = Envelope(id="one", job="job", queue="q", body=b"{}", attempt=attempt)
    context = Context(envelope, lambda _job_id, _progress: None)
    enter(context)
    return context


@pytest.fixture(autouse=True)
def outside() -> Iterator[None]:
    """Be outside of any attempt again: the tests that follow in this thread would be inside."""
    yield
    context_module._current.set(None)
    structlog.contextvars.clear_contextvars()


def around(steps: Steps, name: str) -> Callable[[Context, Callable[[], Any]], Any]:
    """A middleware that writes down when it is passed."""

    def middleware(context: Context, call_next: Callable[[], Any]) -> Any:
        steps.append(f"{name} {context.attempt}")
        try:
            return call_next()
        finally:
            steps.append(f"{name} out")

    return middleware


def test_without_middleware_a_job_runs_as_it_is() -> None:
    """Nothing is added: not a call, not a lookup."""
    app = RabbitJobs("shop")

    @app.job("job")
    def job() -> int:
        return 1

    assert running(app, "job") is job.definition
    assert app.chain is None


def test_the_first_registered_is_the_outermost_for_jobs_before_and_after() -> None:
    """Whatever is registered first, job or middleware."""
    app = RabbitJobs("shop")
    steps: Steps = []

    @app.job("before")
    def before(text: str) -> str:
        steps.append(text)
        return text

    app.middleware(around(steps, "outer"))
    app.middleware(around(steps, "inner"))

    @app.job("after")
    def after(text: str) -> str:
        steps.append(text)
        return text

    begin(2)
    for name in ("before", "after"):
        function = running(app, name).function
        assert function is not None
        assert function(name) == name
        assert steps == ["outer 2", "inner 2", name, "inner out", "outer out"]
        steps.clear()
    assert before("plainly") == "plainly"
    assert app.remote("before", queue="default").definition is before.definition
    assert steps == ["plainly"]


async def test_a_twin_is_around_the_other_kind_at_the_same_place() -> None:
    """An ``async def`` for coroutines, in the order of the pairs."""
    app = RabbitJobs("shop")
    steps: Steps = []
    first = app.middleware(around(steps, "first"))

    @app.middleware
    async def second(context: Context, call_next: Callable[[], Any]) -> Any:
        steps.append("second")
        return await call_next() + 1

    @first.twin
    async def first_async(context: Context, call_next: Callable[[], Any]) -> Any:
        steps.append("first")
        return await call_next() * 2

    @app.job("job")
    async def job(number: int) -> int:
        return number

    begin()
    function = running(app, "job").function
    assert function is not None
    assert await function(3) == 8
    assert steps == ["first", "second"]
    assert repr(first_async) == repr(first)


def test_an_exception_of_a_middleware_is_that_of_the_job() -> None:
    """It leaves through those outside of it, which may catch it."""
    app = RabbitJobs("shop")

    @app.middleware
    def saves(context: Context, call_next: Callable[[], Any]) -> Any:
        try:
            return call_next()
        except LookupError:
            return "saved"

    @app.middleware
    def refuses(context: Context, call_next: Callable[[], Any]) -> Any:
        raise LookupError if context.attempt == 1 else ValueError("refused")

    @app.job("job")
    def job() -> str:
        raise AssertionError("it must not run")

    function = running(app, "job").function
    assert function is not None
    begin()
    assert function() == "saved"
    begin(2)
    with pytest.raises(ValueError, match="refused"):
        function()


def test_what_runs_without_a_middleware_is_a_warning_of_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names both, and says what to do."""
    monkeypatch.chdir(tmp_path)  # away from the config of the demo
    app = RabbitJobs("shop")
    middleware = app.middleware(around([], "one"))
    app.job("plain")(lambda: None)

    @app.job("later")
    async def later() -> None: ...

    (warning,) = app.check()
    assert "is not around later: expected async def for those, got none" in warning

    @middleware.twin
    async def twin(context: Context, call_next: Callable[[], Any]) -> Any:
        return await call_next()

    assert app.check() == []


def test_a_second_of_a_kind_and_what_cannot_be_called_are_refused() -> None:
    """At the line where it stands."""
    app = RabbitJobs("shop")
    middleware = app.middleware(around([], "one"))
    with pytest.raises(RegistrationError, match=r"test_around.py:\d+: expected an async def as"):
        middleware.twin(around([], "two"))
    with pytest.raises(RegistrationError, match="expected a function as middleware, got int"):
        app.middleware(3)  # type: ignore[arg-type]


def test_a_child_that_finds_other_middleware_than_its_worker_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would run jobs without it."""
    (tmp_path / "around_app.py").write_text(
        "from rabbitjobs import RabbitJobs\napp = RabbitJobs('shop')\n"
        "@app.middleware\ndef seen(context, call_next):\n    return call_next()\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("around_app")
    program = program_of(module.app)
    assert registry(**program.arguments) is module.app.registry  # type: ignore[arg-type]
    other = {**program.arguments, "middleware": ("around_app.seen", "late.other")}
    with pytest.raises(WorkerError, match=r"\(around_app.seen, late.other\), in this order, got a"):
        registry(**other)  # type: ignore[arg-type]


# --- hooks ----------------------------------------------------------------------------------------

SUCCEEDED = events.JobSucceeded(at=now(), job_id="i", job="j", queue="q", attempt=1, seconds=0.1)
STOPPED = events.ConsumerChanged(at=now(), queue="q", state="stopped")


@pytest.mark.parametrize(
    ("kinds", "heard", "each"),
    [
        ((events.JobSucceeded,), [SUCCEEDED], True),
        ((events.JobEvent,), [SUCCEEDED], True),
        ((events.ConsumerChanged,), [STOPPED], False),
        ((), [SUCCEEDED, STOPPED], True),
    ],
)
def test_a_hook_hears_the_kinds_that_it_names(
    kinds: tuple[type[events.Event], ...], heard: list[events.Event], each: bool
) -> None:
    """And asks for starts, progress and successes only if it wants one of them."""
    app = RabbitJobs("shop")
    found: list[events.Event] = []
    assert app.on(*kinds)(found.append) is not None
    assert bool(app.bus.each) is each
    for event in (SUCCEEDED, STOPPED):
        app.bus.emit(event)
    assert found == heard


def test_a_hook_that_fails_is_printed_and_the_others_are_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It cannot change what becomes of a job."""
    app = RabbitJobs("shop")
    found: list[events.Event] = []

    @app.on(events.JobSucceeded)
    def fails(event: events.Event) -> None:
        raise RuntimeError("a bad hook")

    app.on(events.JobSucceeded)(found.append)
    app.bus.emit(SUCCEEDED)
    assert found == [SUCCEEDED]
    assert "a bad hook" in capsys.readouterr().err


def test_what_cannot_be_a_hook_is_refused() -> None:
    """A coroutine would never be awaited; the decorator needs its parentheses."""
    app = RabbitJobs("shop")

    async def later(event: events.Event) -> None: ...

    with pytest.raises(RegistrationError, match=r"test_around.py:\d+: expected a def as a hook"):
        app.on()(later)  # type: ignore[arg-type]
    with pytest.raises(RegistrationError, match="expected classes of rabbitjobs"):
        app.on(later)  # type: ignore[arg-type]
