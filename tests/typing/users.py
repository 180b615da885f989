"""What users see of the types. Read by type checkers only: see ``test_typing.py``.

A line that ends with ``# error`` must be refused, every other line must be accepted.
"""

from __future__ import annotations

from datetime import timedelta
from typing import assert_type

from rabbitjobs import Context, Job, JobHandle, RabbitJobs, rules

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
    assert_type(with_context.send(1).result(), bytes)
    await bare_with_context.asend(3)
    later: Job[[int, str], str] | None = None
    assert later is None
    assert_type(plain.options(delay=timedelta(seconds=5), unique="a").send(1), JobHandle[str])
    app.send_many([plain.call(1), confirm.call(2), with_context.call(order=3)])
    app.remote("elsewhere", queue="emails").send(1, anything="goes")

    plain.send("1")  # error
    plain.send()  # error
    plain.send(1, 2)  # error
    plain.send(1, too="a")  # error
    plain.call(1, to=2)  # error
    await confirm.asend("1")  # error
    with_context.send(order="1")  # error
    plain.options(dealy=timedelta(seconds=5))  # error
    plain.options(delay=5)  # error
    app.job(quue="emails")  # error
    app.remote("elsewhere")  # error
    wrong: int = plain.send(1).result()  # error
    assert wrong
