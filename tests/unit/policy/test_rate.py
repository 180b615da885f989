"""Rates as people write them."""

from __future__ import annotations

import pytest

from rabbitjobs.policy.rate import Rate, checked, rate


@pytest.mark.parametrize(
    ("text", "count", "seconds", "spacing"),
    [
        ("100/s", 100, 1.0, 0.01),
        ("600/m", 600, 60.0, 0.1),
        ("50/h", 50, 3600.0, 72.0),
        (" 1 / s ", 1, 1.0, 1.0),
        ("100000/s", 100_000, 1.0, 1e-5),
    ],
)
def test_a_rate_is_read(text: str, count: int, seconds: float, spacing: float) -> None:
    """Count and unit; 600/m is one start each tenth of a second."""
    assert rate(text) == Rate(count, seconds, "fleet")
    assert rate(text).spacing == pytest.approx(spacing)


@pytest.mark.parametrize(
    "text", ["", "100", "0/s", "-1/s", "1.5/s", "100/d", "100001/s", "fast", "1/s/s"]
)
def test_what_is_no_rate_is_refused(text: str) -> None:
    """The text says what one looks like."""
    with pytest.raises(ValueError, match=r"expected a rate such as 100/s"):
        rate(text)


def test_a_rate_says_itself() -> None:
    """For events and errors."""
    assert str(rate("600/m")) == "600/m"
    assert str(rate("5/s", scope="process")) == "5/s in each process"


@pytest.mark.parametrize("given", [Rate(0, 1.0), Rate(-3, 60.0), Rate(1, 7.0), 5, None, b"1/s"])
def test_a_value_that_is_no_rate_is_refused(given: Rate) -> None:
    """Whoever makes one by hand is told the same."""
    with pytest.raises(ValueError, match=r"expected a rate such as 100/s"):
        checked(given)


def test_a_text_or_a_value_is_a_rate() -> None:
    """As ``@app.job`` takes them."""
    assert checked("5/m") == checked(Rate(5, 60.0)) == Rate(5, 60.0)
    assert checked(Rate(5, 1.0, "process")).scope == "process"
