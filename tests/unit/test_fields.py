"""Checks on config values: a usable value always, and the fault beside it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from rabbitjobs.fields import Field, root
from rabbitjobs.yaml import parse

_SECOND, _HOUR = timedelta(seconds=1), timedelta(hours=1)


def _duration(field: Field) -> timedelta:
    return field.duration(_SECOND, least=_SECOND, most=_HOUR)


@pytest.mark.parametrize(
    ("value", "check", "result"),
    [
        ("text", Field.text, "text"),
        ("5", lambda f: f.integer(1, least=1, most=9), 5),
        ("0.5", lambda f: f.number(0, least=0, most=1), 0.5),
        ("1", lambda f: f.number(0, least=0, most=1), 1.0),
        ("true", Field.flag, True),
        ("5m", _duration, timedelta(minutes=5)),
        ("b", lambda f: f.choice(("a", "b"), "a"), "b"),
        ("[x, y]", Field.texts, ("x", "y")),
        ("x", lambda f: f.texts(single=True), ("x",)),
        ("~", lambda f: f.integer(3, least=1, most=9), 3),
        ("~", Field.texts, ()),
    ],
)
def test_good_values_pass(value: str, check: Callable[[Field], Any], result: Any) -> None:
    """And null counts as left out."""
    document = parse(f"v: {value}", "f.yaml", {})
    assert check(root(document).child("v")) == result
    assert document.problems == []


@pytest.mark.parametrize(
    ("value", "check", "expected"),
    [
        ("5", Field.text, "text"),
        ('""', Field.text, "text that is not empty"),
        ("x", lambda f: f.text(fault=lambda t: f"no {t}"), "no x"),
        ("true", lambda f: f.integer(1, least=1, most=9), "a whole number from 1 to 9"),
        ("10", lambda f: f.integer(1, least=1, most=9), "a whole number from 1 to 9"),
        ("1.5", lambda f: f.integer(1, least=1, most=9), "a whole number from 1 to 9"),
        ("2", lambda f: f.number(0, least=0, most=1), "a number from 0 to 1"),
        ("x", lambda f: f.number(0, least=0, most=1), "a number from 0 to 1"),
        ("yes", Field.flag, "true or false"),
        ("5", _duration, "a duration from 1s to 1h"),
        ("5 parsecs", _duration, "a duration from 1s to 1h"),
        ("99999999999999999999d", _duration, "a duration from 1s to 1h"),
        ("2h", _duration, "a duration from 1s to 1h"),
        ("gentel", lambda f: f.choice(("gentle", "harsh")), "gentle"),
        ("zzz", lambda f: f.choice(("gentle", "harsh")), "one of gentle, harsh"),
        ("x", Field.texts, "a list"),
        ("[x, x]", Field.texts, "each entry once"),
        ("[1]", Field.texts, "text"),
        ("5", lambda f: f.keys("a"), "a mapping (key: value)"),
        ("{b: 1}", lambda f: f.keys("a", "c"), "one of a, c"),
        ("{retyr: 1}", lambda f: f.keys("retry", "c"), "retry"),
        ("{c: 1}", lambda f: f.keys("a", "c", required=["a"]), "the key a"),
    ],
)
def test_bad_values_are_reported_and_replaced(
    value: str, check: Callable[[Field], Any], expected: str
) -> None:
    """The text says what was expected; the check returns something that can be worked with."""
    document = parse(f"x: 1\nv: {value}", "f.yaml", {})
    check(root(document).child("v"))
    (problem,) = document.problems
    assert expected in problem.expected
    assert problem.line == 2
    assert problem.path.startswith("v")
