"""Arguments: what is checked before sending is what the worker will find."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import decimal
import enum
import functools
import uuid
from collections.abc import Callable
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rabbitjobs.consumer.context import Context
from rabbitjobs.errors import ArgumentsRefused, RegistrationError
from rabbitjobs.job.definition import define
from rabbitjobs.message.arguments import (
    Arguments,
    decode_result,
    encode_body,
    encode_result,
    read_body,
)


class Colour(enum.Enum):
    """An enum."""

    RED = "red"


@dataclasses.dataclass
class Point:
    """A dataclass."""

    x: int
    y: float


@dataclasses.dataclass
class Broken:
    """A dataclass whose check raises something unusual."""

    x: int

    def __post_init__(self) -> None:
        raise KeyError("no")


class Model(pydantic.BaseModel):
    """A pydantic model."""

    name: str
    at: dt.datetime


class Leaky:
    """It pretends to be a model and fails."""

    def model_dump(self, mode: str) -> Any:
        raise LookupError(mode)


def order(number: int, to: str = "", *, when: dt.datetime | None = None) -> None:
    """A usual job."""


def there_and_back(function: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Any, Any]:
    """Encode and decode the arguments of a call."""
    arguments = Arguments(function)
    return arguments.decode(arguments.encode(args, kwargs))


JSON_TEXT = st.text(st.characters(codec="utf-8"))
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | JSON_TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(JSON_TEXT, inner),
    max_leaves=20,
)


@given(st.lists(PLAIN), st.dictionaries(JSON_TEXT, PLAIN))
def test_plain_data_survives_the_way_through_json(args: list[Any], kwargs: dict[str, Any]) -> None:
    """Whatever JSON can say arrives as it was sent."""
    body = read_body(encode_body(args, kwargs))
    assert (body.args, body.kwargs) == (args, kwargs)


@given(st.binary())
def test_a_body_of_any_bytes_is_read_or_refused(data: bytes) -> None:
    """Nothing but ``ArgumentsRefused`` comes out of strange bytes."""
    with contextlib.suppress(ArgumentsRefused):
        read_body(data)


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b'{"args": {}}', b'{"kwargs": []}', b'{"kwargs": {"1": 2}', b"\xff"],
)
def test_a_body_of_another_shape_is_refused(body: bytes) -> None:
    """The body is an object with a list and an object."""
    with pytest.raises(ArgumentsRefused, match="expected a JSON body"):
        read_body(body)


@pytest.mark.parametrize("nested", [b'{"args":', b'{"args":[],"more":'])
def test_a_bottomless_body_is_refused(nested: bytes) -> None:
    """Nesting beyond the stack is an error like any other."""
    with pytest.raises(ArgumentsRefused):
        read_body(nested + b"[" * 100_000)


def test_typed_values_arrive_as_their_types() -> None:
    """Dataclasses, enums, dates, UUIDs, decimals, models."""

    def job(
        point: Point,
        colour: Colour,
        day: dt.date,
        key: uuid.UUID,
        price: decimal.Decimal,
        model: Model,
        many: list[Point],
    ) -> None: ...

    sent = (
        Point(1, 2.5),
        Colour.RED,
        dt.date(2026, 11, 21),
        uuid.UUID(int=5),
        decimal.Decimal("1.50"),
        Model(name="나", at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC)),
        [Point(3, 4.0)],
    )
    args, kwargs = there_and_back(job, *sent)
    assert (tuple(args), kwargs) == (sent, {})


def test_every_wrong_argument_is_named() -> None:
    """All at once, by name, with what was expected."""
    with pytest.raises(ArgumentsRefused) as refused:
        Arguments(order).encode(("1", 2), {"when": "yesterday"})
    assert all(name in refused.value.text for name in ("number:", "to:", "when:"))


def test_every_fault_of_a_call_is_named_at_once() -> None:
    """What is missing, what nobody asked for, and what is of another type."""

    def confirm(order: int, to: str) -> None: ...

    with pytest.raises(ArgumentsRefused) as refused:
        Arguments(confirm).encode(("a",), {"tow": "x"})
    assert refused.value.text.partition("; ")[2] == (
        "got an unexpected keyword argument 'tow'; missing a required argument: 'to'; "
        "order: expected int, got str"
    )
    with pytest.raises(ArgumentsRefused, match="'tow'; missing a required argument: 'to'"):
        Arguments(confirm).decode(encode_body((1,), {"tow": "x"}))


def all_kinds(a: Any, /, b: Any, c: Any = 0, *, d: Any, e: Any = 0) -> None:
    """Every kind of parameter but those that take all the rest."""


def the_rest(a: Any, /, b: Any = 0, *rest: Any, d: Any, **more: Any) -> None:
    """Those that take all the rest, too."""


@given(
    st.sampled_from([all_kinds, the_rest]),
    st.lists(st.just(1), max_size=5),
    st.dictionaries(st.sampled_from("abcdef"), st.just(1)),
)
def test_a_call_is_refused_just_when_python_would(
    function: Callable[..., None], args: list[int], kwargs: dict[str, int]
) -> None:
    """With a fault in words of ours each time, not only in the one that Python tells."""
    arguments = Arguments(function)
    misfits = list(arguments._misfits(args, kwargs))
    try:
        function(*args, **kwargs)
    except TypeError:
        assert misfits
    else:
        assert misfits == []


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((1, "", 3), {}), ((1,), {"number": 1}), ((1,), {"unknown": 1})],
)
def test_what_the_signature_does_not_take_is_refused(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Before anything is sent, and before anything is run."""
    arguments = Arguments(order)
    with pytest.raises(ArgumentsRefused):
        arguments.encode(args, kwargs)
    with pytest.raises(ArgumentsRefused):
        arguments.decode(encode_body(args, kwargs))


def test_numbers_are_not_guessed_from_texts_or_truths() -> None:
    """Strict on both ends."""
    arguments = Arguments(order)
    for wrong in ("1", True, 1.5, None):
        with pytest.raises(ArgumentsRefused):
            arguments.encode((wrong,), {})
        with pytest.raises(ArgumentsRefused):
            arguments.decode(encode_body([wrong], {}))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_cannot_say_is_refused_by_the_sender(value: float) -> None:
    """It would arrive as null."""

    def job(share: float, shares: list[float]) -> None: ...

    with pytest.raises(ArgumentsRefused, match="finite"):
        Arguments(job).encode((value, []), {})
    with pytest.raises(ArgumentsRefused):
        Arguments(job).encode((1.0, [value]), {})


def test_variable_arguments_are_checked_each() -> None:
    """``*args`` and ``**kwargs`` have a type for every one of them."""

    def job(first: str, *rest: int, **named: float) -> None: ...

    assert there_and_back(job, "a", 1, 2, x=1.5) == (["a", 1, 2], {"x": 1.5})
    with pytest.raises(ArgumentsRefused, match="rest"):
        Arguments(job).encode(("a", 1, "2"), {})
    with pytest.raises(ArgumentsRefused, match="x"):
        Arguments(job).encode(("a",), {"x": "1"})


@pytest.mark.parametrize("value", [{1, 2}.__iter__(), object(), {(1, 2): 3}, "\ud800", Leaky()])
def test_what_json_cannot_hold_is_refused(value: object) -> None:
    """Without a signature and with one."""
    with pytest.raises(ArgumentsRefused):
        encode_body([value], {})

    def job(anything: Any, text: str = "") -> None: ...

    with pytest.raises(ArgumentsRefused):
        Arguments(job).encode((value,), {})
    with pytest.raises(ArgumentsRefused):
        encode_result(value)


def test_a_type_that_fails_in_its_own_way_is_a_refusal() -> None:
    """Converting runs user code: whatever that raises, the message has an ending."""

    def job(broken: Broken) -> None: ...

    with pytest.raises(ArgumentsRefused, match="broken: KeyError: 'no'"):
        Arguments(job).decode(b'{"args": [{"x": 1}]}')


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_context_is_injected_wherever_it_stands(place: int) -> None:
    """First, in the middle or last; it never travels."""

    def first(ctx: Context, a: int, b: int = 2) -> object:
        return ctx, a, b

    def middle(a: int, ctx: Context, b: int = 2) -> object:
        return ctx, a, b

    def last(a: int, b: int = 2, *, ctx: Context) -> object:
        return ctx, a, b

    job: Callable[..., object] = (first, middle, last)[place]
    arguments = Arguments(job)
    assert arguments.encode((1,), {}) == b'{"args":[1],"kwargs":{}}'
    context = Context.detached()
    for given_args, given_kwargs in (([1], {}), ([1, 2], {}), ([], {"b": 2, "a": 1})):
        args, kwargs = arguments.inject(given_args, given_kwargs, lambda _: context)
        assert job(*args, **kwargs) == (context, 1, 2)
    with pytest.raises(ArgumentsRefused):
        arguments.encode((), {"ctx": 1, "a": 1})


def test_what_is_no_function_is_refused_when_it_is_registered() -> None:
    """A partial, a class, an annotation that leads nowhere, a generator."""

    def generator() -> Any:
        yield 1

    def lost(x: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821, UP037

    for function in (functools.partial(order, 1), dict, generator, lost):
        with pytest.raises(RegistrationError):
            define(function, name="x", queue="q", retry=None, rules=(), ignore_result=False)


def test_results_come_back_as_the_type_that_the_job_names() -> None:
    """A dataclass out of JSON; plain data where no type is known."""
    assert decode_result(encode_result(Point(1, 2.0)), Point) == Point(1, 2.0)
    assert decode_result(encode_result(Point(1, 2.0)), Any) == {"x": 1, "y": 2.0}
    assert decode_result(encode_result(None), None) is None


def test_a_form_learns_what_a_job_is_called_with() -> None:
    """Names, types in words, places, what must be given; without what is injected."""

    def job(
        ctx: Context, to: str, n: int | None = None, *rest: int, flag: bool, **more: int
    ) -> None:
        """See above."""

    found = [(p.name, p.kind, p.place, p.required) for p in Arguments(job).parameters]
    assert found == [
        ("to", "str", 0, True),
        ("n", "int | None", 1, False),
        ("flag", "bool", None, True),
    ]


def test_each_wrong_argument_is_named_for_who_typed_it() -> None:
    """By the parameter's name, and all of them at once."""

    def job(to: str, n: int = 1) -> None:
        """See above."""

    with pytest.raises(ArgumentsRefused) as told:
        Arguments(job).decode(b'{"args":[1],"kwargs":{"n":"x"}}')
    assert set(told.value.faults) == {"to", "n"}
    assert "Expected `int`" in told.value.faults["n"]
    with pytest.raises(ArgumentsRefused) as told:
        Arguments(job).decode(b'{"args":[]}')
    assert told.value.faults == {}
