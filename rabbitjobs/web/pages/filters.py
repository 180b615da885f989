"""Filters of lists as the query of a link, so that every list can be kept as a bookmark."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast, get_args
from urllib.parse import urlencode

from rabbitjobs import clock
from rabbitjobs.errors import ActionRefused
from rabbitjobs.review.case import SORTS, STATES, Filters, Reason, Sort

WAITING = "waiting"
SHOWN: tuple[str, ...] = (WAITING, "snoozed", *STATES, "all")
"""What ``state=`` of a link takes: ``waiting`` are open cases that do not sleep."""

_TEXTS = {
    "queue": "queue", "job": "job", "error": "error_type", "q": "text", "group": "fingerprint",
    "owner": "owner", "tag": "tag", "job_id": "job_id",
}  # fmt: skip
_LABELS = {
    "queue": "queue", "job": "job", "error": "error", "q": "text", "group": "group",
    "owner": "last touched by", "tag": "tag", "job_id": "job id", "held": "held",
    "origin": "origin", "newer": "opened within", "older": "opened before",
}  # fmt: skip
NAMES = ("state", *_LABELS, "sort")
_YES = {"yes": True, "no": False, "": None}


class Chosen(NamedTuple):
    """What a link asks for: the filters, the order, and the link's own fields as they came."""

    filters: Filters
    sort: Sort
    given: Mapping[str, str]

    @property
    def state(self) -> str:
        """The state as the link names it."""
        return self.given.get("state", WAITING)

    @property
    def narrowed(self) -> Mapping[str, str]:
        """The filters beside the state, in words, by the name of their field."""
        return {name: _LABELS[name] for name in self.given if name in _LABELS}

    def query(self, **changes: str | None) -> str:
        """The query of a link with some fields changed; ``None`` leaves one out."""
        fields = {name: value for name, value in {**self.given, **changes}.items() if value}
        return "?" + urlencode(fields) if fields else ""


def chosen(field: Callable[[str], str]) -> Chosen:
    """Read filters from the fields of a link or a form; ``ActionRefused`` for what is none."""
    given = {name: value for name in NAMES if (value := field(name))}
    state = _one_of("state", given.get("state", WAITING), SHOWN)
    sort = _one_of("sort", given.get("sort", "newest"), SORTS)
    held = _one_of("held", given.get("held", ""), tuple(_YES))
    origin = _one_of("origin", given.get("origin", ""), ("", *get_args(Reason)))
    values: dict[str, Any] = {to: given[name] for name, to in _TEXTS.items() if name in given}
    sleepers = state in (WAITING, "snoozed")
    filters = Filters(
        state="open" if sleepers else None if state == "all" else cast("Any", state),
        snoozed=state == "snoozed" if sleepers else None,
        claimed=_YES[held],
        reason=cast("Any", origin) or None,
        since=_ago(given.get("newer")),
        until=_ago(given.get("older")),
        **values,
    )
    return Chosen(filters, cast("Sort", sort), given)


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ActionRefused(f"expected {name} to be one of {', '.join(allowed)}, got {value!r}")
    return value


def _ago(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return clock.now() - clock.parse_duration(text).total_seconds()
    except (ValueError, OverflowError) as error:
        raise ActionRefused(str(error)) from None
