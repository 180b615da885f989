"""Fields of a payload: hiding the sensitive ones, keeping the locked ones as they were."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from rabbitjobs.errors import ArgumentsRefused

HIDDEN = "[hidden]"
"""Stands for a field that the reader may not see; left in place in an edit it means: unchanged."""

_ABSENT = object()
Path = tuple[str, ...]


def hidden(payload: bytes, sensitive: Iterable[str]) -> tuple[bytes, tuple[str, ...]]:
    """The payload with ``sensitive`` fields hidden, and which they were.

    One that is no JSON, or not of the usual shape, is hidden as a whole: nobody knows where in it
    the fields are.
    """
    rules = tuple(sensitive)
    if not rules:
        return payload, ()
    data = _read(payload)
    if data is _ABSENT:
        return msgspec.json.encode(HIDDEN), ("(all of it)",)
    found = _all_places(data, rules)
    for place in found:
        _put(data, place, HIDDEN)
    names = tuple(sorted(".".join(place) for place in found))
    return (msgspec.json.encode(data) if found else payload), names


def restored(body: bytes, before: bytes, sensitive: Iterable[str]) -> bytes:
    """An edited body with what its author did not see put back, from the payload ``before``.

    Raises ``ArgumentsRefused`` for a hidden field that was changed, moved or taken away.
    """
    old, new = _read(before), _read(body)
    rules = tuple(sensitive)
    if new is _ABSENT or not rules:
        return body
    if old is _ABSENT:
        raise ArgumentsRefused(
            "expected an admin for a payload that is hidden as a whole, got another body for it"
        )
    was, now = _all_places(old, rules), _all_places(new, rules)
    changed = [*(was ^ now), *(place for place in was & now if _get(new, place) != HIDDEN)]
    if changed:
        names = sorted(".".join(place) for place in changed)
        raise ArgumentsRefused(
            f"expected {HIDDEN!r} left as it is at {', '.join(names)}, which only an admin may see "
            "and change",
            faults=dict.fromkeys(names, f"expected {HIDDEN!r} left as it is"),
        )
    for place in was:
        _put(new, place, _get(old, place))
    return msgspec.json.encode(new) if was else body


def check_locked(body: bytes, before: bytes, locked: Iterable[str]) -> None:
    """Raise ``ArgumentsRefused`` if an edit changes a locked field."""
    rules = tuple(locked)
    old, new = _read(before), _read(body)
    if not rules or old is _ABSENT or new is _ABSENT:
        return
    places = _all_places(old, rules) | _all_places(new, rules)
    changed = sorted(
        ".".join(place) for place in places if not _same(_get(old, place), _get(new, place))
    )
    if changed:
        raise ArgumentsRefused(
            f"expected {', '.join(changed)} as before, because the config locks it; change "
            "another field, or discard the case and send a new job",
            faults=dict.fromkeys(changed, "expected it as before, because the config locks it"),
        )


def _read(payload: bytes) -> Any:
    try:
        data = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _ABSENT
    return data if isinstance(data, dict) else _ABSENT


def _all_places(data: Any, rules: tuple[str, ...]) -> set[Path]:
    """Where any rule points; a place inside another one goes with it."""
    found = {place for rule in rules for place in _places(data, tuple(rule.split(".")), ())}
    return {place for place in found if not any(place[:n] in found for n in range(len(place)))}


def _places(data: Any, rule: Path, above: Path) -> Iterator[Path]:
    """Where in ``data`` a rule points: a ``*`` stands for every key or place."""
    if not rule:
        yield above
        return
    step, *rest = rule
    for name, value in _inside(data):
        if step in ("*", name):
            yield from _places(value, tuple(rest), (*above, name))


def _inside(data: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(data, dict):
        yield from data.items()
    elif isinstance(data, list):
        yield from ((str(place), value) for place, value in enumerate(data))


def _get(data: Any, place: Path) -> Any:
    for step in place:
        data = dict(_inside(data)).get(step, _ABSENT)
    return data if data is _ABSENT else copy.deepcopy(data)


def _put(data: Any, place: Path, value: Any) -> None:
    *above, last = place
    for step in above:
        data = data[int(step)] if isinstance(data, list) else data[step]
    data[int(last) if isinstance(data, list) else last] = value


def _same(one: Any, other: Any) -> bool:
    # As JSON: True and 1 are equal in Python, and not the same argument.
    if one is _ABSENT or other is _ABSENT:
        return one is other
    return msgspec.json.encode(one, order="sorted") == msgspec.json.encode(other, order="sorted")
