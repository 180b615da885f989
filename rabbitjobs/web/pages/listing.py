"""The lists: cases, causes, and all of it as a file."""

from __future__ import annotations

from collections.abc import Iterator

from starlette.responses import Response, StreamingResponse

from rabbitjobs.review.case import SORTS
from rabbitjobs.review.export import FORMS
from rabbitjobs.web.pages.filters import SHOWN, WAITING, Chosen, chosen
from rabbitjobs.web.pages.rendering import render
from rabbitjobs.web.pages.visit import Visit

PAGE = 50
FACETS_SHOWN = 8


def cases(visit: Visit) -> Response:
    """A page of cases, with counts of what waits beside it."""
    asked = chosen(visit.query)
    after = visit.query("after") or None
    page = visit.desk.list(asked.filters, limit=PAGE, after=after, sort=asked.sort, who=visit.who)
    stats = visit.counts.of(visit.desk, visit.person)
    return render(visit.request, "cases.html", {
        "title": "Cases", "asked": asked, "page": page, "after": after, "stats": stats,
        "tabs": _tabs(visit, asked), "facets": FACETS_SHOWN, "sorts": SORTS, "states": SHOWN,
    })  # fmt: skip


def groups(visit: Visit) -> Response:
    """A page of causes, the most frequent first."""
    # Snoozed ones count as well: an index holds all that the others need.
    asked = chosen(lambda name: visit.query(name) or ("open" if name == "state" else ""))
    after = visit.query("after") or None
    page = visit.desk.groups(asked.filters, limit=PAGE, after=after, who=visit.who)
    return render(visit.request, "groups.html", {
        "title": "Groups", "asked": asked, "page": page, "after": after, "states": SHOWN,
        "stats": visit.counts.of(visit.desk, visit.person),
    })  # fmt: skip


def export(visit: Visit) -> Response:
    """All cases that fit, as a file; read page by page while it is sent."""
    asked = chosen(visit.query)
    form = visit.path("form")
    if form not in FORMS:
        return render(visit.request, "refused.html", {
            "title": "There is no such export", "text": f"expected one of {', '.join(FORMS)}",
        }, status=404)  # fmt: skip
    lines = visit.desk.export(asked.filters, form=form, who=visit.who)
    kind = "text/csv" if form == "csv" else "application/jsonl"
    return StreamingResponse(
        _with_ends(lines),
        media_type=f"{kind}; charset=utf-8",
        headers={
            "Content-Disposition": f'attachment; filename="cases.{form}"',
            "Cache-Control": "no-store",
        },
    )


def _with_ends(lines: Iterator[str]) -> Iterator[bytes]:
    for line in lines:
        yield line.encode("utf-8", "backslashreplace") + b"\n"


def _tabs(visit: Visit, asked: Chosen) -> tuple[tuple[str, str, bool], ...]:
    """The lists that everybody looks at, as name, link and whether it is this one."""
    mine = {"state": "open", "owner": visit.who, "held": "yes"}
    plain = [(name, {"state": state}) for name, state in (
        ("Snoozed", "snoozed"), ("Sent again", "released"), ("Closed", "closed"), ("All", "all"),
    )]  # fmt: skip
    tabs = [("Waiting", {"state": WAITING}), ("Mine", mine), *plain]
    shown = {"state": asked.state, **{k: v for k, v in asked.given.items() if k != "sort"}}
    blank = Chosen(asked.filters, "newest", {})
    return tuple((name, blank.query(**fields), fields == shown) for name, fields in tabs)
