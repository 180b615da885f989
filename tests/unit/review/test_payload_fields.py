"""Fields of payloads: hidden, put back, kept as they were, whatever JSON comes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rabbitjobs.errors import ArgumentsRefused
from rabbitjobs.review.payload_fields import HIDDEN, check_locked, hidden, restored

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab.*[]0", max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "0", ""]), inner, max_size=3)
    ),
    max_leaves=8,
)
BODIES = st.fixed_dictionaries(
    {
        "args": st.lists(VALUES, max_size=3),
        "kwargs": st.dictionaries(st.sampled_from(["a", "b"]), VALUES, max_size=2),
    }
)
STEPS = st.sampled_from(["a", "b", "0", "1", "*"])
RULES = st.lists(
    st.builds(
        lambda first, rest: ".".join([first, *rest]),
        st.sampled_from(["args", "kwargs"]),
        st.lists(STEPS, min_size=1, max_size=3),
    ),
    max_size=3,
)


def encode(value: Any) -> bytes:
    return msgspec.json.encode(value)


@pytest.mark.parametrize(
    ("rule", "names"),
    [
        ("args.0", ("args.0",)),
        ("args.5", ()),
        ("args.*", ("args.0", "args.1")),
        ("kwargs.card.number", ("kwargs.card.number",)),
        ("kwargs.*.number", ("kwargs.card.number",)),
        ("kwargs.card", ("kwargs.card",)),
        ("kwargs.text.number", ()),
    ],
)
def test_a_rule_hides_what_it_points_at(rule: str, names: tuple[str, ...]) -> None:
    """And tells what it was; what is not there is not."""
    body = encode({"args": ["x", ["y"]], "kwargs": {"card": {"number": 7}, "text": "z"}})
    shown, found = hidden(body, [rule])
    assert found == names
    assert shown.count(HIDDEN.encode()) == len(names)
    assert bool(names) or shown is body


@pytest.mark.parametrize("body", [b"\x80", b"", b"5", b"[1]", b'"text"', b"[" * 9000])
def test_what_is_no_body_is_hidden_as_a_whole(body: bytes) -> None:
    """If there is anything to hide at all."""
    assert hidden(body, ["args.0"]) == (encode(HIDDEN), ("(all of it)",))
    assert hidden(body, []) == (body, ())


@settings(max_examples=150, deadline=None)
@given(body=BODIES, rules=RULES)
def test_what_was_hidden_is_put_back(body: dict[str, Any], rules: list[str]) -> None:
    """An edit that leaves the marks in their places has the old values in it."""
    before = encode(body)
    shown, _ = hidden(before, rules)
    assert msgspec.json.decode(restored(shown, before, rules)) == body
    check_locked(before, before, rules)


@settings(max_examples=150, deadline=None)
@given(body=BODIES, other=BODIES, rules=RULES)
def test_nothing_hidden_or_locked_is_changed(
    body: dict[str, Any], other: dict[str, Any], rules: list[str]
) -> None:
    """Whatever is sent instead: it is refused, or the fields are as they were."""
    before, after = encode(body), encode(other)
    try:
        whole = restored(after, before, rules)
    except ArgumentsRefused:
        pass
    else:
        check_locked(whole, before, rules)


def test_what_is_hidden_as_a_whole_is_an_admins() -> None:
    """Who does not see it replaces nothing of it."""
    with pytest.raises(ArgumentsRefused, match="hidden as a whole"):
        restored(b'{"args":[1]}', b"\x80", ["args.0"])


def test_true_is_not_one() -> None:
    """They are equal in Python, and another argument."""
    with pytest.raises(ArgumentsRefused, match=r"args\.0 as before"):
        check_locked(b'{"args":[true]}', b'{"args":[1]}', ["args.0"])
    check_locked(b'{"args":[{"a":1,"b":2}]}', b'{"args":[{"b":2,"a":1}]}', ["args.0"])
