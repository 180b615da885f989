"""Failure rules: which error meets which decision."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Literal

import msgspec

ErrorNames = type[BaseException] | str | Sequence[type[BaseException] | str]


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """A named list of delays. ``attempts`` counts every try, the first included.

    ``delays`` holds the pause before attempt 2, 3, ...: one fewer than ``attempts``. ``jitter``
    (0 to 1) spreads each delay by up to that share in both directions. ``line`` is that of the
    config, 0 without a file.
    """

    name: str
    attempts: int
    delays: tuple[timedelta, ...]
    jitter: float = 0.0
    line: int = 0


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule: errors of these dotted class names meet ``do``.

    ``errors`` are compared along the error's class chain; ``*`` matches each. ``policy`` names a
    retry policy (``None``: the job's or queue's own). ``then`` is what follows a notify. ``keep=0``
    keeps no record of what is ignored. ``source`` says where it stands.
    """

    do: Literal["retry", "ignore", "review", "notify"]
    errors: tuple[str, ...] = ("*",)
    policy: str | None = None
    then: Rule | None = None
    keep: int | None = None
    source: str = ""

    def matches(self, classes: Sequence[str]) -> bool:
        """Whether one of the classes is named here."""
        return "*" in self.errors or any(name in self.errors for name in classes)


def retry(policy: str | None = None, *, on: ErrorNames = "*") -> Rule:
    """Try again, by a named retry policy; when its attempts are used up, the next rule decides."""
    return Rule(do="retry", errors=error_names(on), policy=policy)


def ignore(*, on: ErrorNames = "*", keep: int | None = None) -> Rule:
    """End the job here; a record is kept, unless ``keep=0``."""
    return Rule(do="ignore", errors=error_names(on), keep=keep)


def review(*, on: ErrorNames = "*") -> Rule:
    """Put the job on a person's desk."""
    return Rule(do="review", errors=error_names(on))


def notify(*, on: ErrorNames = "*", then: Rule | None = None) -> Rule:
    """Tell people, then do what ``then`` says (review, if nothing is said)."""
    return Rule(do="notify", errors=error_names(on), then=then)


def class_names(kind: type[BaseException]) -> tuple[str, ...]:
    """The dotted names along a class chain, most derived first; builtins without their module."""
    return tuple(_dotted(base) for base in kind.__mro__ if base is not object)


def error_names(on: ErrorNames) -> tuple[str, ...]:
    """Names of classes, given as classes, dotted names or a sequence of both."""
    if isinstance(on, str):
        return (on.removeprefix("builtins."),)
    if isinstance(on, type):
        return (_dotted(on),)
    return tuple(name for one in on for name in error_names(one))


def _dotted(kind: type) -> str:
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"
