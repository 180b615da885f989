"""Hooks: functions of the app that are told of events."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from rabbitjobs.errors import RegistrationError
from rabbitjobs.events import Bus, Event, JobProgress, JobStarted, JobSucceeded
from rabbitjobs.job.definition import source_of

Hook = TypeVar("Hook", bound=Callable[[Any], object])
_EACH = (JobStarted, JobProgress, JobSucceeded)


def register(bus: Bus, kinds: tuple[type[Event], ...]) -> Callable[[Hook], Hook]:
    """A decorator that has a function listen to ``kinds`` (all, if there is none).

    Raises ``RegistrationError`` for what is no event, and for ``async def``.
    """
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, Event)):
            raise RegistrationError(
                f"expected classes of rabbitjobs.events, got {kind!r}; write @app.on(...)"
            )

    def hook(function: Hook) -> Hook:
        if inspect.iscoroutinefunction(function):
            raise RegistrationError(
                f"{source_of(function)}: expected a def as a hook, got an async def; "
                "hooks are not awaited"
            )

        def tell(event: Event) -> None:
            if not kinds or isinstance(event, kinds):
                function(event)

        # A kind above those three (JobEvent, say) wants them too.
        each = not kinds or any(issubclass(one, kinds) for one in _EACH)
        bus.listen(tell, each=each)
        return function

    return hook
