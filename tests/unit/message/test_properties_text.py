"""Properties as text: what an unreadable message came with, for people and programs to read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rabbitjobs.message.properties import TEXT_BYTES, Properties, as_text, from_text

TEXTS = st.text(st.characters(exclude_categories=()), max_size=255)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
)


def test_what_is_set_stands_there_by_name() -> None:
    """Nothing else does."""
    text = as_text(Properties(type="mail", priority=3, headers={"x": [1, b"\xff"]}))
    assert text == '{"type":"mail","priority":3,"delivery_mode":2,"headers":{"x":[1,"/w=="]}}'


def test_values_are_cut_before_headers_are_left_out() -> None:
    """And what is left out is counted."""
    long = from_text(as_text(Properties(headers={"a": "y" * 9000, "b": 1})))
    assert long == {"delivery_mode": 2, "headers": {"a": "y" * 200, "b": 1}}
    many = from_text(as_text(Properties(headers={f"h{n}": "y" * 300 for n in range(90)})))
    assert many is not None
    assert many["headers_left_out"] == 70
    assert len(many["headers"]) == 20


def test_a_value_that_nests_too_deep_is_named_so() -> None:
    """It ends nothing."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    try:
        read = from_text(as_text(Properties(headers={"deep": deep})))
    finally:
        while deep:  # one level at a time: freeing it at once would be as deep
            deep = deep.pop()
    assert read is not None
    assert read["headers"] == {"deep": "nested too deep"}


@pytest.mark.parametrize("text", [None, b"{}", "Properties(app_id='me')", "[1]", "\ud800"])
def test_what_is_no_such_text_is_told_apart(text: object) -> None:
    """Anybody may have written that header."""
    assert from_text(text) is None


@given(st.dictionaries(TEXTS, VALUES, max_size=30), TEXTS)
def test_whatever_came_is_readable_json_within_bounds(headers: dict[str, Any], name: str) -> None:
    """All headers of a message share one frame."""
    text = as_text(Properties(type=name, app_id=name, reply_to=name, headers=headers))
    assert len(text.encode()) <= TEXT_BYTES
    assert from_text(text) not in (None, {})
