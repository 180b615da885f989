"""A payload as fields of a form, and what was typed there as a payload again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from rabbitjobs.errors import ArgumentsRefused
from rabbitjobs.message.arguments import Parameter
from rabbitjobs.review.options import FieldRules
from rabbitjobs.review.payload_fields import HIDDEN
from rabbitjobs.web.pages.case import as_json

MOST_FIELDS = 200
# What a plain field of text would not bring back as it was.
_UNTYPABLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


class FormField(NamedTuple):
    """One argument in a form.

    ``place`` is where it stands in the body (``args.0``, ``kwargs.to``), ``name`` what people call
    it, ``kind`` its type in words. ``plain``: it is typed as text, else as JSON. ``fixed`` says why
    it cannot be changed. ``fault`` is what is wrong with what was typed.
    """

    place: str
    name: str
    kind: str
    value: str
    plain: bool
    required: bool
    fixed: str
    fault: str

    @property
    def rows(self) -> int:
        """How many lines of it are shown."""
        return min(max(self.value.count("\n") + 1, 1 + len(self.value) // 60), 16)


def body_of(payload: bytes) -> dict[str, Any] | None:
    """The body as ``args`` and ``kwargs``; ``None`` if it is none that fits into a form."""
    try:
        body = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    if not isinstance(body, dict) or set(body) - {"args", "kwargs"}:
        return None
    args, kwargs = body.get("args", []), body.get("kwargs", {})
    fits = isinstance(args, list) and isinstance(kwargs, dict)
    if not fits or len(args) + len(kwargs) > MOST_FIELDS:
        return None
    return {"args": args, "kwargs": kwargs}


def fields_of(
    body: Mapping[str, Any],
    parameters: Sequence[Parameter],
    rules: FieldRules,
    *,
    typed: Mapping[str, str],
    faults: Mapping[str, str],
) -> list[FormField]:
    """The fields of a form for a body; ``typed`` and ``faults`` are those of the last try."""
    known = {one.name: one for one in parameters}
    return [
        _field(place, name, value, known.get(name), rules, typed, faults)
        for place, name, value in _places(body, parameters)
        if value is not _MISSING or not _ruled(place, rules)
    ]


def edited(
    body: Mapping[str, Any], parameters: Sequence[Parameter], typed: Mapping[str, str]
) -> dict[str, Any]:
    """The body with what was typed in it.

    ``ArgumentsRefused`` names every field with something that is no JSON.
    """
    args, kwargs = list(body["args"]), dict(body["kwargs"])
    faults: dict[str, str] = {}
    known = {one.name: one for one in parameters}
    for place, name, old in _places(body, parameters):
        if place not in typed:
            continue
        try:
            value = _read(typed[place], old, _is_plain(old, known.get(name)))
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            faults[place] = f'expected JSON, such as "text", 42 or null; {error}'
            continue
        where, _, key = place.partition(".")
        if where == "args":
            args[int(key)] = value
        elif value is not _MISSING:
            kwargs[key] = value
        else:
            kwargs.pop(key, None)
    if faults:
        raise ArgumentsRefused("expected JSON in each field", faults=faults)
    return {"args": args, "kwargs": kwargs}


_MISSING: Any = object()


def _read(text: str, old: Any, plain: bool) -> Any:
    if plain:
        # A browser sends every line end as one of two characters; ours are one by now.
        return old if text == old.replace("\r\n", "\n") else text
    if not text.strip():
        return _MISSING if old is _MISSING else msgspec.json.decode(text)
    return msgspec.json.decode(text)


def _places(
    body: Mapping[str, Any], parameters: Sequence[Parameter]
) -> Iterator[tuple[str, str, Any]]:
    """Place, name and value of each argument, and of those parameters that are not given."""
    names = {one.place: one.name for one in parameters if one.place is not None}
    args, kwargs = body["args"], body["kwargs"]
    for number, value in enumerate(args):
        yield f"args.{number}", names.get(number, f"args[{number}]"), value
    for name, value in kwargs.items():
        yield f"kwargs.{name}", name, value
    for one in parameters:
        if (one.place is None or one.place >= len(args)) and one.name not in kwargs:
            yield f"kwargs.{one.name}", one.name, _MISSING


def _field(
    place: str,
    name: str,
    value: Any,
    parameter: Parameter | None,
    rules: FieldRules,
    typed: Mapping[str, str],
    faults: Mapping[str, str],
) -> FormField:
    plain = _is_plain(value, parameter)
    text = "" if value is _MISSING else value if plain else as_json(value)
    return FormField(
        place=place,
        name=name,
        kind=parameter.kind if parameter else "",
        value=typed.get(place, text),
        plain=plain,
        required=parameter.required if parameter else False,
        fixed=_fixed(place, value, rules),
        fault=_fault(place, name, faults),
    )


def _is_plain(value: Any, parameter: Parameter | None) -> bool:
    """Whether it is typed as text: a text for a parameter that takes texts, or of unknown type."""
    takes = parameter is None or parameter.kind in ("str", "Any")
    return isinstance(value, str) and takes and not _UNTYPABLE.search(value.replace("\r\n", "\n"))


def _ruled(place: str, rules: FieldRules) -> bool:
    """Whether the desk would refuse to have this argument added."""
    return any(_under(rule, place) for rule in (*rules.locked, *rules.sensitive))


def _fixed(place: str, value: Any, rules: FieldRules) -> str:
    if value == HIDDEN and any(_under(rule, place) for rule in rules.sensitive):
        return "hidden from you; it stays as it is"
    if any(_under(rule, place) and rule.count(".") == 1 for rule in rules.locked):
        return "locked by the config"
    return ""


def _under(rule: str, place: str) -> bool:
    """Whether a rule points at this argument (or into it)."""
    where, _, key = place.partition(".")
    first, *rest = rule.split(".")
    return first == where and bool(rest) and rest[0] in ("*", key)


def _fault(place: str, name: str, faults: Mapping[str, str]) -> str:
    for key, said in faults.items():
        if key in (place, name) or key.startswith(f"{place}."):
            return said
    return ""
