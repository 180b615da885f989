"""The concurrency key of a message: from its arguments, as the worker would run it."""

from __future__ import annotations

from rabbitjobs.job.definition import Definition
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.policy.concurrency import called_key, key_text


def key_of(definition: Definition, envelope: Envelope) -> str:
    """The key; raises whatever is wrong with the arguments, or what the user's function raises."""
    wanted, arguments = definition.concurrency, definition.arguments
    assert wanted is not None and arguments is not None
    args, kwargs = arguments.decode(envelope.body)
    if callable(wanted.key):
        return called_key(wanted, definition.name, wanted.key(*args, **kwargs))
    return key_text(wanted, definition.name, arguments.named(args, kwargs))
