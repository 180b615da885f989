"""Orders: reading a raw record, doubting what it says, and where its customer gets mail."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path

DATA = Path(__file__).parent / "data" / "cdnow.txt"

MANY_CDS = 20
DEAR_CD = Decimal(150)

# The customer's mail provider decides how its mail server behaves: see mail_server.py.
GREYLISTING = "greylisting.example"
GONE = "gone.example"
STRICT = "strict.example"
ORDINARY = "post.example"

KINDS = ("order", "note", "mail", "invoice", "parcel")
SENT_BY_US = ("order", "note")  # the others are sent by an order that was placed


class MalformedOrder(ValueError):
    """A record that is no order: a person has to look at it."""


@dataclass(frozen=True, slots=True)
class Order:
    """One order. ``total`` is in dollars, ``cds`` counts the discs."""

    number: int
    customer: int
    day: date
    cds: int
    total: Decimal

    @property
    def email(self) -> str:
        """The customer's address, derived from the customer number: the data set has none."""
        return f"customer-{self.customer:05d}@{provider(self.customer)}"


def job_id(number: int, kind: str) -> str:
    """The id of one of an order's five jobs: sent twice under it, a job is still one job."""
    return f"order-{number:06d}" if kind == "order" else f"order-{number:06d}.{kind}"


def provider(customer: int) -> str:
    """The mail domain of a customer: every third provider greylists, a few mailboxes are gone."""
    if customer % 41 == 0:
        return GONE
    if customer % 233 == 0:
        return STRICT
    return GREYLISTING if customer % 3 == 0 else ORDINARY


def read_records(path: Path = DATA, limit: int | None = None) -> list[tuple[int, str]]:
    """The raw lines with their numbers from 1, which serve as order numbers; none is left out."""
    lines = path.read_text(encoding="ascii").splitlines()
    return list(enumerate(lines, start=1))[:limit]


def parse(number: int, record: str) -> Order:
    """Read one raw record. Raises ``MalformedOrder``, which says what was expected."""
    fields = record.split()
    if len(fields) != 4:
        raise MalformedOrder(f"expected 4 fields, got {len(fields)} in {record!r}")
    try:
        return Order(
            number=number,
            customer=int(fields[0]),
            day=date.fromisoformat(fields[1]),
            cds=int(fields[2]),
            total=Decimal(fields[3]),
        )
    except (ValueError, InvalidOperation) as error:
        raise MalformedOrder(
            f"expected customer, date, number of CDs and dollars, got {record!r}"
        ) from error


def doubt(order: Order) -> str | None:
    """Why a person should look at a readable order before it goes out; ``None`` if it may go."""
    if order.cds < 1 or order.total <= 0:
        return f"a total of {order.total} dollars for {order.cds} CDs: is the price missing?"
    if order.cds >= MANY_CDS:
        return f"{order.cds} CDs in one order: does a shop buy here?"
    if order.total / order.cds > DEAR_CD:
        return f"{order.total / order.cds:.2f} dollars for one CD: is this a slip?"
    return None
