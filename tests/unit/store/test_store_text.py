"""Text for the store: anything goes in, and something readable comes out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rabbitjobs.store.text import storable, storable_or_none

ANYTHING = st.text(st.characters(exclude_categories=()))


@given(ANYTHING)
def test_every_text_becomes_one_that_databases_take(text: str) -> None:
    """UTF-8 without NUL; doing it twice changes nothing."""
    stored = storable(text)
    assert "\0" not in stored
    stored.encode("utf-8")
    assert storable(stored) == stored


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    """Every language included."""
    assert storable(text) == text


def test_nothing_stays_nothing() -> None:
    """For columns that may be empty."""
    assert storable_or_none(None) is None
    assert storable_or_none("a\0") == "a\\x00"
