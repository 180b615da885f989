"""The wire's message ids."""

from __future__ import annotations

import itertools
import os

_prefix = os.urandom(9).hex()
_counter = itertools.count(1)


def _new_prefix() -> None:
    global _prefix
    _prefix = os.urandom(9).hex()


os.register_at_fork(after_in_child=_new_prefix)


def fresh_message_id() -> str:
    """A wire message id: unique for each attempt to publish, in every process."""
    return f"{_prefix}-{next(_counter)}"
