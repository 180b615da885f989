"""A concurrency key: which jobs may not run beside each other, and how many may. Pure."""

from __future__ import annotations

import enum
import string
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, Final
from uuid import UUID

import msgspec

_LONGEST: Final = 200
_PLAIN: Final = (str, int, float, UUID, date)


class Concurrency(msgspec.Struct, frozen=True):
    """At most ``limit`` jobs of one key run at a time, in the whole fleet.

    ``key`` is a text with names of arguments, ``"{customer}"``, or a function that is called with
    the job's arguments and returns a text. Keys are of one job; jobs that name the same ``group``
    share theirs.
    """

    key: str | Callable[..., str]
    limit: int = 1
    group: str | None = None


def concurrency_fault(wanted: Concurrency, parameters: Mapping[str, object]) -> str | None:
    """What is wrong with it for a function of these parameters; ``None`` if nothing."""
    if type(wanted.limit) is not int or wanted.limit < 1:
        return f"expected a limit of the concurrency key from 1, got {wanted.limit!r}"
    if callable(wanted.key):
        return None
    try:
        names = [name for _, name, _, _ in _parts(wanted.key) if name is not None]
        bare = all(not spec and not conversion for _, _, spec, conversion in _parts(wanted.key))
    except ValueError as error:
        return f"expected a concurrency key such as '{{customer}}', got {wanted.key!r}: {error}"
    for name in names:
        if not bare or name not in parameters:
            listed = ", ".join(parameters) or "none"
            return (
                f"expected plain names of the job's parameters ({listed}) in the concurrency key, "
                f"got {wanted.key!r}"
            )
    return None if wanted.key else "expected a concurrency key that is not empty"


def key_text(wanted: Concurrency, job: str, arguments: Mapping[str, Any]) -> str:
    """The key of a call, by the names of its ``arguments``, for a key that is a text.

    Raises ``ValueError`` for an argument that is no plain value: what its text would be is anyone's
    guess, and two customers must never share one by chance.
    """
    values: list[str] = []
    for literal, name, _, _ in _parts(str(wanted.key)):
        values.append(literal)
        if name is not None:
            values.append(_plain(name, arguments[name]))
    return _bounded(wanted, job, values)


def called_key(wanted: Concurrency, job: str, value: object) -> str:
    """The key of a call whose function returned ``value``; raises ``ValueError`` for no text."""
    if not isinstance(value, str) or not value:
        raise ValueError(
            f"expected a text as concurrency key from its function, got {type(value).__name__}"
        )
    return _bounded(wanted, job, [value])


def _bounded(wanted: Concurrency, job: str, values: list[str]) -> str:
    home = f"group {wanted.group}" if wanted.group is not None else f"job {job}"
    # As JSON, so that no two lists of values have one text.
    text = msgspec.json.encode([home, *values]).decode()
    if len(text) <= _LONGEST:
        return text
    import hashlib  # here, for who only sends pays for it at import

    return f"{text[:100]}...{hashlib.sha256(text.encode()).hexdigest()}"


def _parts(text: str) -> list[tuple[str, str | None, str | None, str | None]]:
    return list(string.Formatter().parse(text))


def _plain(name: str, value: Any) -> str:
    if isinstance(value, enum.Enum):
        value = value.value
    if not isinstance(value, _PLAIN):
        raise ValueError(
            f"expected a plain value of {name!r} for the concurrency key, "
            f"got {type(value).__name__}; give concurrency_key= a function"
        )
    return str(value)
