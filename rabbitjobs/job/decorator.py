"""The types of ``@app.job``: what a function's own signature makes of ``send`` and ``result``.

A first parameter that is injected (``ctx: Context``) is left out of what ``send`` takes; what an
``async def`` returns is what ``result`` returns.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from rabbitjobs.job.definition import AsyncJob, Job
from rabbitjobs.message.markers import Injected

P = ParamSpec("P")
R = TypeVar("R")
I = TypeVar("I", bound=Injected)  # noqa: E741


class Registers(Protocol):
    """Turns a function into a job; also what ``@app.job(...)`` with options returns."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[I, P], Coroutine[Any, Any, R]], /
    ) -> AsyncJob[P, R]: ...

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncJob[P, R]: ...

    @overload
    def __call__(self, function: Callable[Concatenate[I, P], R], /) -> Job[P, R]: ...

    @overload
    def __call__(self, function: Callable[P, R], /) -> Job[P, R]: ...
