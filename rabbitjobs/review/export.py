"""Cases as CSV for a spreadsheet, and as JSON lines, whole and with their audit, for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any, Literal, Protocol

import msgspec

from rabbitjobs.review.case import AuditRow, Case, CaseLine, Filters, Page, Sort
from rabbitjobs.review.moment import moment
from rabbitjobs.review.options import Person

Form = Literal["jsonl", "csv"]
FORMS: tuple[Form, ...] = ("jsonl", "csv")
PAGE = 200
COLUMNS = (
    "id", "state", "outcome", "reason", "job", "job_id", "queue", "attempt", "error_type", "error",
    "opened", "updated", "seen", "failures", "fingerprint", "owner", "deadline", "severity", "tags",
)  # fmt: skip
_TIMES = frozenset({"opened", "updated", "seen", "deadline"})
# What a spreadsheet takes for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Looking(Protocol):
    """What an export needs of a desk."""

    def list(
        self,
        filters: Filters = ...,
        *,
        limit: int = ...,
        after: str | None = ...,
        sort: Sort = ...,
        who: str | None = ...,
    ) -> Page:
        """One page of cases."""
        ...

    def get(self, case_id: str, *, who: str | None = ...) -> Case:
        """One case."""
        ...

    def audit(self, case_id: str, *, who: str | None = ...) -> tuple[AuditRow, ...]:
        """What was done to it."""
        ...


def lines(desk: Looking, filters: Filters, form: Form, person: Person | None) -> Iterator[str]:
    """The lines of an export, without their line ends."""
    who = person.name if person else None
    if form == "csv":
        yield _csv(COLUMNS)
    for line in _all(desk, filters, who):
        yield _csv(_cells(line)) if form == "csv" else _json(desk, line.id, who)


def _all(desk: Looking, filters: Filters, who: str | None) -> Iterator[CaseLine]:
    after: str | None = None
    while True:
        page = desk.list(filters, limit=PAGE, after=after, sort="oldest", who=who)
        yield from page.cases
        after = page.after
        if after is None:
            return


def _json(desk: Looking, case_id: str, who: str | None) -> str:
    case = desk.get(case_id, who=who)
    plain: dict[str, Any] = {
        name: getattr(case, name)
        for name in case.__struct_fields__
        if name not in ("envelope", "properties")
    }
    # Bytes become base64; the decoded view stands beside them where there is one.
    plain |= {"history": case.history, "arguments": case.decoded(), "actions": case.actions}
    plain["audit"] = desk.audit(case_id, who=who)
    return msgspec.json.encode(plain, enc_hook=repr).decode("utf-8")


def _cells(line: CaseLine) -> tuple[str, ...]:
    return tuple(_cell(name, getattr(line, name)) for name in COLUMNS)


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name in _TIMES:
        return moment(value)
    text = " ".join(value) if name == "tags" else str(value)
    # An apostrophe keeps a spreadsheet from running what a payload says.
    return f"'{text}" if isinstance(value, str | tuple) and text.startswith(_FORMULA) else text


def _csv(cells: tuple[str, ...]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(cells)
    return buffer.getvalue()
