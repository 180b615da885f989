"""Bulk actions: choose, freeze, try dry, run, watch, stop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast, get_args

from starlette.responses import Response

from rabbitjobs.errors import ActionRefused, CaseNotFound, RabbitJobsError
from rabbitjobs.review.bulk_case import BULK_ACTIONS, SENDING, Bulk, Fate, Terms
from rabbitjobs.review.case import Filters
from rabbitjobs.web.pages.acting import duration_of, queue_of, tags_of
from rabbitjobs.web.pages.filters import NAMES, Chosen, chosen
from rabbitjobs.web.pages.refusals import status_of
from rabbitjobs.web.pages.rendering import render
from rabbitjobs.web.pages.visit import Visit

PAGE = 100
FATES: tuple[Fate, ...] = get_args(Fate)
_LIVE = ("running", "canary")


def bulks(visit: Visit) -> Response:
    """The last bulk actions."""
    found = visit.desk.bulk.list(who=visit.who)
    return render(visit.request, "bulks.html", {"title": "Bulk actions", "bulks": found})


def new(visit: Visit) -> Response:
    """The form for all cases that fit the filters of a link."""
    return _form(visit, chosen(visit.query), ())


def choose(visit: Visit) -> Response:
    """The form for the cases that were ticked in a list."""
    ids = _ids(visit)
    if not ids:
        raise ActionRefused("expected cases that are ticked, got none; tick some in the list")
    return _form(visit, chosen(lambda _name: ""), ids)


def freeze(visit: Visit) -> Response:
    """Fix which cases it is for, and show what it would do."""
    ids, asked = _ids(visit), chosen(visit.posted)
    try:
        action = visit.posted("action")
        if action not in BULK_ACTIONS:
            raise ActionRefused(f"expected one of {', '.join(BULK_ACTIONS)}, got {action!r}")
        terms = _terms(visit, action)
        wanted: Filters | Sequence[str] = ids or asked.filters
        made = visit.desk.bulk.freeze(cast("Any", action), wanted, who=visit.who, terms=terms)
    except RabbitJobsError as error:
        return _form(visit, asked, ids, error)
    return visit.go(f"/bulk/{made.id}/dry-run")


def bulk(visit: Visit) -> Response:
    """How far it is, and what became of each case."""
    found = visit.desk.bulk.get(visit.path("bulk_id"), who=visit.who)
    return _shown(visit, found)


def dry_run(visit: Visit) -> Response:
    """What it would do with each case now."""
    bulk_id, after = visit.path("bulk_id"), _place(visit)
    found = visit.desk.bulk.get(bulk_id, who=visit.who)
    page = visit.desk.bulk.dry_run(bulk_id, after=after, limit=PAGE, who=visit.who)
    return render(visit.request, "dry_run.html", {
        "title": f"Dry run: {found.action}", "bulk": found, "page": page, "after": after,
        "may": _may(visit, found),
    })  # fmt: skip


def turn(visit: Visit) -> Response:
    """Run it, stop it, or let it go on."""
    bulk_id, action = visit.path("bulk_id"), visit.path("action")
    found = visit.desk.bulk.get(bulk_id, who=visit.who)
    try:
        if action == "stop":
            visit.desk.bulk.stop(bulk_id, visit.posted("reason"), who=visit.who)
        elif action in ("run", "resume"):
            if action == "resume":
                visit.desk.bulk.resume(bulk_id, who=visit.who)
            visit.runner.start(visit.desk, bulk_id, who=visit.who)
        else:
            raise ActionRefused(f"expected run, stop or resume, got {action!r}")
    except RabbitJobsError as error:
        return _shown(visit, found, error)
    return visit.go(f"/bulk/{bulk_id}")


def _shown(visit: Visit, found: Bulk, error: RabbitJobsError | None = None) -> Response:
    fate = visit.query("fate")
    if fate not in (*FATES, ""):
        raise ActionRefused(f"expected fate to be one of {', '.join(FATES)}, got {fate!r}")
    page = visit.desk.bulk.outcomes(
        found.id, after=_place(visit), limit=PAGE, fate=cast("Any", fate) or None, who=visit.who
    )
    status, problem = status_of(error) if error else (200, "")
    return render(visit.request, "bulk.html", {
        "title": f"Bulk {found.action}", "bulk": found, "page": page, "fate_shown": fate,
        "may": _may(visit, found), "here": visit.runner.running(found.id),
        "live": found.state in _LIVE, "problem": problem,
        "problem_text": str(error) if error else "",
        "ended": found.total - found.counts.get("waiting", 0),
    }, status=status)  # fmt: skip


def _form(
    visit: Visit, asked: Chosen, ids: Sequence[str], error: RabbitJobsError | None = None
) -> Response:
    status, problem = status_of(error) if error else (200, "")
    # The page says what is chosen; freezing it counts, and says how many there are.
    some = () if ids else visit.desk.list(asked.filters, limit=5, who=visit.who).cases
    return render(visit.request, "bulk_new.html", {
        "title": "Act on many cases", "asked": asked, "ids": ids, "actions": BULK_ACTIONS,
        "sending": SENDING, "examples": some, "names": NAMES,
        "queues": visit.queues, "typed": visit.form if error else {},
        "problem": problem, "problem_text": str(error) if error else "",
        "lines": _ticked(visit, ids),
    }, status=status)  # fmt: skip


def _ticked(visit: Visit, ids: Sequence[str]) -> list[Any]:
    """The ticked cases as lines; one that is gone is left out."""
    found = []
    for one in ids[:PAGE]:
        try:
            found.append(visit.desk.get(one, who=visit.who))
        except CaseNotFound:
            continue
    return found


def _ids(visit: Visit) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(one) for one in visit.form.getlist("case")))


def _terms(visit: Visit, action: str) -> Terms:
    """The terms that belong to the action; fields of the others are left unread."""
    if action in SENDING:
        failures = visit.posted("failures").strip()
        return Terms(
            queue=queue_of(visit),
            canary=int(_number(visit, "canary")),
            rate=_number(visit, "rate"),
            failures=int(_number(visit, "failures")) if failures else None,
        )
    if action == "snooze":
        return Terms(seconds=duration_of(visit.posted("for")).total_seconds())
    if action == "tag":
        return Terms(tags=tags_of(visit.posted("tags")))
    return Terms(reason=visit.posted("reason"))


def _number(visit: Visit, name: str) -> float:
    text = visit.posted(name).strip()
    try:
        number = float(text or 0)
    except ValueError:
        number = -1.0
    # Also what is no number at all: nan.
    if not 0 <= number <= 1e6:
        raise ActionRefused(f"expected a number from 0 to 1,000,000 as {name}, got {text!r}")
    return number


def _place(visit: Visit) -> int:
    text = visit.query("after")
    if text and not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ActionRefused(f"expected a place in the bulk action, got {text!r}")
    return int(text or 0)


def _may(visit: Visit, found: Bulk) -> bool:
    """Whether to offer the buttons; the desk itself decides once more."""
    role = visit.person.role
    return role == "admin" or (role == "reviewer" and found.who == visit.who)
