"""What people give has bounds: a page, a text, tags, what is looked for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rabbitjobs.errors import ActionRefused
from rabbitjobs.review.bounds import check_page, check_search, check_tags, check_text


@pytest.mark.parametrize(
    "act",
    [
        lambda: check_page(0),
        lambda: check_page(-1),
        lambda: check_page(10_001),
        lambda: check_search("x" * 501),
        lambda: check_text("", "a reason"),
        lambda: check_text(" \n", "a reason"),
        lambda: check_text("x" * 20_001, "a reason"),
        lambda: check_text("x" * 20_001, "a reason", needed=False),
        lambda: check_tags(("",)),
        lambda: check_tags(("x" * 101,)),
        lambda: check_tags(tuple(str(number) for number in range(51))),
    ],
)
def test_what_is_beyond_them_is_refused(act: Callable[[], None]) -> None:
    """Before the store hears of it."""
    with pytest.raises(ActionRefused, match="expected"):
        act()


def test_what_is_within_them_is_not() -> None:
    """The bounds themselves included."""
    check_page(1)
    check_page(10_000)
    check_search(None)
    check_search("x" * 500)
    check_text("", "a reason", needed=False)
    check_text("x" * 20_000, "a reason")
    check_tags(())
    check_tags(tuple(f"{number:0100}" for number in range(50)))
