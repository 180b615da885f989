"""Middleware: what is put around the function of every job, in every pool.

It is put around once, at registration: a job of an app without middleware runs as if there were no
such thing, and pools know nothing of it.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any, Final

import msgspec

from rabbitjobs.consumer.context import Context, current
from rabbitjobs.errors import RegistrationError
from rabbitjobs.job.definition import Definition, is_async, source_of

CallNext = Callable[[], Any]
Around = Callable[[Context, CallNext], Any]
AroundAsync = Callable[[Context, Callable[[], Coroutine[Any, Any, Any]]], Coroutine[Any, Any, Any]]
# Registering runs here, in ``RabbitJobs.middleware`` and then in the module that we look for.
_CALLER: Final = 2


class Middleware:
    """One middleware: what is around jobs that are ``def``, ``async def``, or both."""

    def __init__(self, function: Callable[..., Any], changed: Callable[[], None]) -> None:
        self.module = str(sys._getframe(_CALLER).f_globals.get("__name__", ""))
        self.name = f"{self.module}.{_name_of(function)}"
        self.plain: Around | None = None
        self.awaited: AroundAsync | None = None
        self._changed = changed
        self.twin(function)

    def twin(self, function: Callable[..., Any]) -> Middleware:
        """Add the other kind, at the same place in the order: ``async def`` beside ``def``.

        Raises ``RegistrationError`` if there is one of its kind already.
        """
        if not callable(function):
            raise RegistrationError(
                f"expected a function as middleware, got {type(function).__name__}"
            )
        kind = "awaited" if is_async(function) else "plain"
        if getattr(self, kind) is not None:
            other = "a def" if kind == "awaited" else "an async def"
            raise RegistrationError(
                f"{source_of(function)}: expected {other} as the twin of {self.name}, got a second "
                "one of its kind"
            )
        setattr(self, kind, function)
        self._changed()
        return self

    def __repr__(self) -> str:
        return f"<Middleware {self.name}>"


class Chain:
    """The middleware of one app: the first one that was registered is the outermost."""

    def __init__(self, put_around: Callable[[Callable[[Definition], Definition]], None]) -> None:
        self._put_around = put_around
        self._all: list[Middleware] = []

    def __iter__(self) -> Iterator[Middleware]:
        return iter(self._all)

    def add(self, middleware: Middleware) -> None:
        """Put it around every job, inside of those that were added before."""
        self._all.append(middleware)
        self.changed()

    def changed(self) -> None:
        """Build every job anew."""
        self._put_around(self.around)

    def around(self, definition: Definition) -> Definition:
        """The job with all middleware of its kind around its function."""
        function = definition.function
        if function is None:
            return definition
        if definition.is_async:
            awaited = [one.awaited for one in self._all if one.awaited is not None]
            dressed: Callable[..., Any] = _awaited(function, awaited) if awaited else function
        else:
            plain = [one.plain for one in self._all if one.plain is not None]
            dressed = _plain(function, plain) if plain else function
        return msgspec.structs.replace(definition, function=dressed)

    def gaps(self, definitions: Iterable[Definition]) -> Iterator[str]:
        """Jobs that run without a middleware, because it has no twin for their kind: warnings."""
        known = [one for one in definitions if one.function is not None]
        for middleware in self._all:
            for kind, around in (("async def", middleware.awaited), ("def", middleware.plain)):
                names = [one.name for one in known if one.is_async is (kind == "async def")]
                if around is None and names:
                    short = middleware.name.rpartition(".")[2]
                    yield (
                        f"middleware {middleware.name} is not around {', '.join(sorted(names))}: "
                        f"expected {kind} for those, got none; add it with @{short}.twin"
                    )


def _plain(function: Callable[..., Any], chain: list[Around]) -> Callable[..., Any]:
    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        context = current()
        call: CallNext = functools.partial(function, *args, **kwargs)
        for middleware in reversed(chain):
            call = functools.partial(middleware, context, call)
        return call()

    return run


def _awaited(function: Callable[..., Any], chain: list[AroundAsync]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def run(*args: Any, **kwargs: Any) -> Any:
        context = current()
        call: Callable[[], Coroutine[Any, Any, Any]] = functools.partial(function, *args, **kwargs)
        for middleware in reversed(chain):
            call = functools.partial(middleware, context, call)
        return await call()

    return run


def _name_of(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__qualname__", type(function).__qualname__))
