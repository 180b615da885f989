"""Concurrency keys: what is refused when a job is registered, and the text of a call's key."""

from __future__ import annotations

import enum
from collections.abc import Callable
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rabbitjobs.policy.concurrency import Concurrency, called_key, concurrency_fault, key_text

PARAMETERS = dict.fromkeys(("customer", "number"))


class Colour(enum.Enum):
    """Some enum."""

    RED = "red"


@pytest.mark.parametrize(
    "key", ["{customer}", "all", "{customer}:{number}", "customer {customer}", str]
)
def test_names_of_parameters_plain_texts_and_functions_will_do(
    key: str | Callable[..., str],
) -> None:
    """A function is only called in a worker."""
    assert concurrency_fault(Concurrency(key), PARAMETERS) is None


@pytest.mark.parametrize(
    "key",
    [
        *("{stranger}", "{customer.name}", "{customer[0]}", "{customer!r}", "{customer:>9}", "{}"),
        *("{0}", "{customer", "", "{customer:{number}}"),
    ],
)
def test_whatever_would_look_into_a_value_is_refused(key: str) -> None:
    """Attributes, items, conversions: a key is made of plain arguments."""
    assert concurrency_fault(Concurrency(key), PARAMETERS) is not None


@pytest.mark.parametrize("limit", [0, -1, True, "2"])
def test_the_limit_is_a_number_from_one(limit: int) -> None:
    """Of none at a time no job would ever run."""
    assert concurrency_fault(Concurrency("k", limit=limit), PARAMETERS) is not None


@pytest.mark.parametrize(
    ("value", "shown"),
    [("ada", "ada"), (7, "7"), (UUID(int=1), str(UUID(int=1))), (Colour.RED, "red")],
)
def test_a_key_is_of_its_job_and_its_values(value: object, shown: str) -> None:
    """As JSON: home, then the parts."""
    assert (
        key_text(Concurrency("{customer}"), "j", {"customer": value}) == f'["job j","","{shown}"]'
    )


@given(st.text(max_size=300), st.text(max_size=300), st.text(max_size=300), st.text(max_size=300))
def test_different_arguments_never_share_a_key(a: str, b: str, c: str, d: str) -> None:
    """Whatever they hold: "a:b" and "c" is not "a" and "b:c"; long ones are hashed."""
    wanted = Concurrency("{a}:{b}")
    one, other = (
        key_text(
            wanted,
            "j",
            {
                "a": a.encode("utf-8", "replace").decode(),
                "b": b.encode("utf-8", "replace").decode(),
            },
        )
        for a, b in ((a, b), (c, d))
    )
    assert (one == other) == ((a, b) == (c, d))
    assert len(one) < 300


def test_a_long_key_is_kept_short_and_still_its_own() -> None:
    """By a hash of all of it: the columns that hold it, and its index, have an end."""
    a, b = (called_key(Concurrency(str), "job", "x" * 5000 + end) for end in "ab")
    assert a != b
    assert a[:100] == b[:100]
    assert len(a) == len(b) < 200


def test_jobs_share_keys_by_a_group_only() -> None:
    """Else two jobs with an argument of one name would wait for each other."""
    values = {"customer": "ada"}
    assert key_text(Concurrency("{customer}"), "a", values) != key_text(
        Concurrency("{customer}"), "b", values
    )
    shared = Concurrency("{customer}", group="customers")
    assert key_text(shared, "a", values) == key_text(shared, "b", values)


@pytest.mark.parametrize("value", [["a"], {"a": 1}, None, object(), b"a"])
def test_an_argument_that_is_no_plain_value_is_refused(value: object) -> None:
    """The text of an object may be its address, and never the same."""
    with pytest.raises(ValueError, match="give concurrency_key= a function"):
        key_text(Concurrency("{customer}"), "j", {"customer": value})


@pytest.mark.parametrize("value", ["", 7, None])
def test_a_function_returns_a_text(value: object) -> None:
    """And one that is not empty."""
    with pytest.raises(ValueError, match="expected a text as concurrency key"):
        called_key(Concurrency(str), "j", value)
