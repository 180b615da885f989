"""The demo's data is real and as found; reading it says what is wrong with it."""

from __future__ import annotations

import hashlib
from collections import Counter
from decimal import Decimal

import pytest

from examples.shop.orders import (
    DATA,
    MalformedOrder,
    doubt,
    parse,
    provider,
    read_records,
)


def test_the_data_is_as_found() -> None:
    """Nobody tidied the file up, a checkout that changes line ends included."""
    content = DATA.read_bytes()
    assert content.count(b"\r\n") == 1405
    assert hashlib.sha256(content).hexdigest() == (
        "4067f23c1c226d9468da82f35d220760bb0f96a4e4e27ef1fb7ae407050f3606"
    )


def test_every_line_becomes_a_record_with_its_number() -> None:
    """None is left out, the head line neither; a limit cuts the end."""
    records = read_records()
    assert len(records) == 1405
    assert records[0] == (1, " customer_id  date number_of_cds  dollar_value")
    assert len(read_records(limit=10)) == 10


def test_the_data_holds_orders_of_every_kind() -> None:
    """One unreadable line, thirteen doubtful ones, and plain orders."""
    kinds = Counter(_kind(number, record) for number, record in read_records())
    assert kinds == {"plain": 1391, "doubtful": 13, "malformed": 1}


def _kind(number: int, record: str) -> str:
    try:
        order = parse(number, record)
    except MalformedOrder:
        return "malformed"
    return "doubtful" if doubt(order) else "plain"


def test_a_record_is_read_by_its_columns() -> None:
    """The blanks of the fixed columns do not matter."""
    order = parse(7, " 00004 19970101  2   29.33")
    assert (order.customer, order.cds, order.total) == (4, 2, Decimal("29.33"))
    assert order.day.isoformat() == "1997-01-01"
    assert order.email == "customer-00004@post.example"


@pytest.mark.parametrize(
    "record",
    ["", "00004 19970101 2", "00004 19971301 2 29.33", "x 19970101 2 29.33", "4 19970101 2 ?"],
)
def test_a_record_that_is_no_order_is_malformed(record: str) -> None:
    """The error says what was expected and shows the record."""
    with pytest.raises(MalformedOrder, match="expected"):
        parse(1, record)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ("00455 19970102 1 0.00", "price missing"),
        ("00455 19970102 0 9.00", "price missing"),
        ("00020 19970101 27 363.60", "27 CDs"),
        ("01038 19970105 1 283.97", "283.97 dollars"),
    ],
)
def test_an_odd_order_is_doubted_with_a_reason(record: str, reason: str) -> None:
    """A person reads the reason on the desk."""
    said = doubt(parse(1, record))
    assert said is not None
    assert reason in said


def test_the_customers_provider_is_always_the_same() -> None:
    """Addresses are derived, so that two runs write to the same mailboxes."""
    assert [provider(n) for n in (41, 233, 3, 4)] == [
        "gone.example",
        "strict.example",
        "greylisting.example",
        "post.example",
    ]
