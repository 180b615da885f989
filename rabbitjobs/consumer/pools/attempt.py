"""One attempt in a child: from the body of a message to what came of it."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

from rabbitjobs.consumer.context import Context, enter
from rabbitjobs.consumer.failure import failure_of, plain_failure
from rabbitjobs.consumer.pools.limited import Limited
from rabbitjobs.consumer.pools.protocol import Ended
from rabbitjobs.job.definition import Definition
from rabbitjobs.job.registry import Registry
from rabbitjobs.message.arguments import encode_result
from rabbitjobs.message.envelope import Envelope

Note = Callable[[str, bytes], None]


def attempt(registry: Registry, envelope: Envelope, limited: Limited, note: Note) -> Ended:
    """Run one attempt in this thread, in a context of its own; never raises."""
    definition = registry.get(envelope.job)
    if definition is None or definition.function is None:
        return None, plain_failure(
            "unknown-job", f"no job {envelope.job!r} is registered in the child process"
        )
    return contextvars.copy_context().run(_attempt, definition, envelope, limited, note)


def _attempt(definition: Definition, envelope: Envelope, limited: Limited, note: Note) -> Ended:
    function, arguments = definition.function, definition.arguments
    assert function is not None and arguments is not None
    try:
        args, kwargs = arguments.decode(envelope.body)
    except Exception as error:  # converting arguments runs user code
        return None, failure_of(error, "arguments")
    lost = limited.lease_lost() if definition.concurrency is not None else None
    context = Context(envelope, note, lost)
    context.ask(limited.cancelled)
    enter(context)
    if definition.soft_limit is not None or definition.hard_limit is not None:
        context.begins(definition.soft_limit, definition.hard_limit)
    if arguments.injected:
        args, kwargs = arguments.inject(args, kwargs, lambda _: context)
    try:
        if definition.is_async:
            value = asyncio.run(limited.follow(function(*args, **kwargs)))
        else:
            value = _limited(limited, function, args, kwargs)
        return None if definition.ignore_result else encode_result(value), None
    except BaseException as error:  # user code: SystemExit and the like end the job, not us
        return None, failure_of(error)


def _limited(
    limited: Limited, function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]
) -> Any:
    # Both, so that a limit that is over between the two lines still finds the job's own handler.
    try:
        try:
            limited.enter()
            return function(*args, **kwargs)
        finally:
            limited.leave()
    finally:
        limited.leave()
