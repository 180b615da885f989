"""The ``retry`` section of the config: named policies, computed into lists of delays."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from rabbitjobs.fields import Field
from rabbitjobs.policy import backoff
from rabbitjobs.policy.rules import RetryPolicy

MAX_ATTEMPTS: Final = 100
DEFAULT_CAP: Final = timedelta(hours=1)
_LEAST: Final = timedelta(milliseconds=1)
_SECOND: Final = timedelta(seconds=1)
_KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "exponential": ("first", "cap", "factor"),
    "fixed": ("delay",),
    "listed": ("delays",),
}


def read_retries(field: Field, longest: timedelta) -> dict[str, RetryPolicy]:
    """Every policy of the section by its name; faults are collected in the document.

    No pause may be longer than ``longest``: the delay ladder ends there.
    """
    return {str(entry.path[-1]): _policy(entry, longest) for entry in field.entries()}


def _policy(field: Field, longest: timedelta) -> RetryPolicy:
    own = tuple(key for keys in _KINDS.values() for key in keys)
    field.keys("attempts", "backoff", "jitter", *own)
    kind = _kind(field)
    for other, keys in _KINDS.items():
        for key in keys if other != kind else ():
            if field.child(key).given:
                field.child(key).fail(f"{key} only with backoff: {other}", f"backoff: {kind}")
    delays = _delays(field, kind, longest)
    return RetryPolicy(
        name=str(field.path[-1]),
        attempts=len(delays) + 1,
        delays=delays,
        jitter=field.child("jitter").number(0, least=0, most=1),
    )


def _kind(field: Field) -> str:
    """What ``backoff`` says, else what the other keys imply."""
    implied = next((k for k, keys in _KINDS.items() if field.child(keys[0]).given), "exponential")
    return field.child("backoff").choice(_KINDS, implied)


def _delays(field: Field, kind: str, longest: timedelta) -> tuple[timedelta, ...]:
    if kind == "listed":
        return _listed(field, longest)
    if not field.child("attempts").given and field.given:
        field.fail("the key attempts", "none")
    attempts = field.child("attempts").integer(1, least=1, most=MAX_ATTEMPTS)
    start = field.child("delay" if kind == "fixed" else "first")
    if attempts > 1 and not start.given:
        field.fail(f"the key {start.path[-1]}", "none")
    first = _delay(start, _SECOND, longest)
    if kind == "fixed":
        return backoff.fixed(attempts, first)
    cap = _delay(field.child("cap"), min(max(first, DEFAULT_CAP), longest), longest)
    if cap < first:
        field.child("cap").fail("a cap that is not below first")
    factor = field.child("factor").number(2, least=1, most=100)
    return backoff.exponential(attempts, first, cap=cap, factor=factor)


def _listed(field: Field, longest: timedelta) -> tuple[timedelta, ...]:
    places = field.child("delays").items()
    if not places and field.given:
        field.fail("the key delays with at least one delay", "none")
    delays = tuple(_delay(place, _SECOND, longest) for place in places)[: MAX_ATTEMPTS - 1]
    if len(places) >= MAX_ATTEMPTS:
        field.child("delays").fail(f"at most {MAX_ATTEMPTS - 1} delays", str(len(places)))
    attempts = field.child("attempts")
    if attempts.given and attempts.integer(1, least=1, most=MAX_ATTEMPTS) != len(delays) + 1:
        attempts.fail(f"{len(delays) + 1} (one more than delays), or no attempts at all")
    return delays


def _delay(field: Field, default: timedelta, longest: timedelta) -> timedelta:
    return field.duration(default, least=_LEAST, most=longest)
