"""What users see of the types: read by type checkers only (``test_typing.py``).

A line that carries an ignore comment must be refused, every other line must be accepted.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, assert_type

from rabbitjobs import Context, JobHandle, RabbitJobs, events, rules

app = RabbitJobs("shop")


@app.job
def plain(order: int, to: str = "") -> str:
    """A bare decorator."""
    return f"{order}{to}"


@app.job("mail.confirm", queue="emails", retry="gentle", on=[rules.ignore(on=KeyError)])
async def confirm(order: int) -> float:
    """An async job with a name, a queue and rules."""
    return float(order)


@app.job(queue="emails")
def with_context(ctx: Context, order: int) -> bytes:
    """The context is filled in by the worker, not by the sender."""
    return f"{ctx.job_id}{order}".encode()


@app.job
async def bare_with_context(ctx: Context, order: int) -> None:
    """The same, bare and async."""
    ctx.progress(order)


async def use() -> None:
    """Senders in all their forms."""
    assert_type(plain(1), str)
    assert_type(plain.send(1, to="a"), JobHandle[str])
    assert_type(plain.send(1).result(timeout=5), str)
    assert_type(await plain.asend(1), JobHandle[str])
    assert_type(await plain.send(1).aresult(), str)
    assert_type(confirm.send(1), JobHandle[float])
    assert_type(await confirm.asend(1), JobHandle[float])
    assert_type(await confirm(1), float)
    assert_type(with_context.send(order=1).result(), bytes)
    assert_type(with_context(1), bytes)
    await bare_with_context.asend(3)
    assert_type(plain.options(delay=timedelta(seconds=5), unique="a").send(1), JobHandle[str])
    assert_type(confirm.options(queue="other").send(1), JobHandle[float])
    app.send_many([plain.call(1), confirm.call(2), with_context.call(order=3)])
    app.remote("elsewhere", queue="emails").send(1, anything="goes")


@app.on(events.JobEnded, events.ProcessEnded)
def hook(event: events.JobEnded | events.ProcessEnded) -> None:
    """It names what it hears."""


@app.middleware
def around(context: Context, call_next: Callable[[], Any]) -> Any:
    """It is around every job."""
    return call_next()


@around.twin
async def around_async(context: Context, call_next: Callable[[], Awaitable[Any]]) -> Any:
    """The same for coroutines."""
    return await call_next()


async def follow(ctx: Context) -> None:
    """Follow-ups have the types of their jobs."""
    assert_type(ctx.send(plain, 1, to="a"), JobHandle[str])
    assert_type(await ctx.asend(confirm, 1), JobHandle[float])
    assert_type(ctx.send(with_context, order=1).result(), bytes)
    assert_type(ctx.deadline, float | None)
    app.send_many([ctx.call(plain, 1), plain.call(2)])
    progress = plain.send(1).progress()
    assert_type(progress.share if progress else None, float | None)


async def misuse() -> None:
    """What a type checker must refuse, so that it is never found out at run time."""
    plain.send("1")  # type: ignore[arg-type]
    plain.send()  # type: ignore[call-arg]
    plain.send(1, 2)  # type: ignore[arg-type]
    plain.send(1, too="a")  # type: ignore[call-arg]
    plain.call(1, to=2)  # type: ignore[arg-type]
    await confirm.asend("1")  # type: ignore[arg-type]
    with_context.send(order="1")  # type: ignore[arg-type]
    plain.options(dealy=timedelta(seconds=5))  # type: ignore[call-arg]
    plain.options(delay=5)  # type: ignore[arg-type]
    app.job(quue="emails")  # type: ignore[call-overload]
    app.remote("elsewhere")  # type: ignore[call-arg]
    Context.detached().send(plain, "1")  # type: ignore[arg-type]
    app.on(JobHandle)  # type: ignore[arg-type]
    wrong: int = plain.send(1).result()  # type: ignore[assignment]
    assert wrong
