"""One case: everything that is known of it, and what may be done with it now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from starlette.responses import Response

from rabbitjobs.errors import DeskError, RabbitJobsError
from rabbitjobs.review.case import Case, Filters
from rabbitjobs.review.edited import describe_change, pretty
from rabbitjobs.web.pages.refusals import status_of
from rabbitjobs.web.pages.rendering import render
from rabbitjobs.web.pages.visit import Visit

PAYLOAD_SHOWN = 100_000
SNOOZES = (("30m", "half an hour"), ("2h", "2 hours"), ("1d", "a day"), ("7d", "a week"))
DONE = {
    "claim": "It is yours for now: nobody else may act on it.",
    "steal": "It is yours now; who held it will hear of it.",
    "let_go": "You have given it back.",
    "retry": "Sent again. The case closes by itself when the job succeeds.",
    "approve": "Approved: the job runs.",
    "edit": "Sent with other arguments, as a case of its own: this one.",
    "reject": "Rejected: the job never runs.",
    "discard": "Discarded: the job has failed.",
    "resolve": "Resolved: who waits for the job gets your result.",
    "reopen": "Taken back: the case is open again.",
    "snooze": "Put off: it comes back by itself.",
    "wake": "Awake again.",
    "escalate": "Its severity is higher now.",
    "comment": "Your comment stands below.",
    "tag": "The tags are set.",
}
"""What is said after an action; the link that says it names the action only."""


class Argument(NamedTuple):
    """One argument as it is shown: its name (or place) and its value as JSON."""

    name: str
    value: str


def case(visit: Visit) -> Response:
    """The page of a case."""
    found = visit.desk.get(visit.path("case_id"), who=visit.who)
    if found.id != visit.path("case_id"):
        return visit.go(f"/cases/{found.id}")
    return shown(visit, found)


def payload(visit: Visit) -> Response:
    """The exact bytes of the payload, as far as this person may see them, as a file."""
    found = visit.desk.get(visit.path("case_id"), who=visit.who)
    return Response(found.payload, media_type="application/octet-stream", headers={
        "Content-Disposition": f'attachment; filename="{found.id}.bin"',
        "Cache-Control": "no-store",
    })  # fmt: skip


def shown(visit: Visit, found: Case, error: RabbitJobsError | None = None) -> Response:
    """The page of a case; with an ``error``, what was typed stands in its fields still."""
    status, problem = status_of(error) if error else (200, "")
    tried = visit.request.path_params.get("action", "") if error else ""

    def entered(action: str, name: str, otherwise: str = "") -> str:
        return visit.posted(name) if action == tried else otherwise

    return render(visit.request, "case.html", {
        **_facts(visit, found),
        "problem": problem,
        "problem_text": str(error) if error else "",
        "tried": tried,
        "entered": entered,
        "done": DONE.get(visit.query("done"), ""),
    }, status=status)  # fmt: skip


def _facts(visit: Visit, found: Case) -> Mapping[str, Any]:
    desk, who = visit.desk, visit.who
    alike = desk.groups(Filters(fingerprint=found.fingerprint), limit=1, who=who).groups
    return {
        "title": found.job or "A message that cannot be read",
        "case": found,
        "offers": desk.offers(found, who=who),
        "audit": desk.audit(found.id, who=who),
        "comments": desk.comments(found.id, who=who),
        "arguments": arguments(visit, found),
        "raw": _raw(found.payload),
        "cut": len(found.payload) > PAYLOAD_SHOWN,
        "change": _change(visit, found),
        "group": alike[0] if alike else None,
        "queues": visit.queues,
        "snoozes": SNOOZES,
        "lease": desk.options.lease.total_seconds(),
    }


def arguments(visit: Visit, found: Case) -> tuple[Argument, ...]:
    """The arguments one by one, named as the job's signature does; none if it is no such body."""
    body = found.decoded()
    if not isinstance(body, dict) or len(found.payload) > PAYLOAD_SHOWN:
        return ()
    args, kwargs = body.get("args", []), body.get("kwargs", {})
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        return ()
    names = {one.place: one.name for one in visit.desk.parameters(found.job)}
    placed = ((names.get(place, f"args[{place}]"), value) for place, value in enumerate(args))
    return tuple(Argument(name, as_json(value)) for name, value in (*placed, *kwargs.items()))


def as_json(value: Any) -> str:
    """A value of a payload as JSON, over several lines if it is large."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode("utf-8")


def _raw(payload: bytes) -> str:
    """The payload as text; of a large one the beginning, as it is."""
    if len(payload) > PAYLOAD_SHOWN:
        return payload[:PAYLOAD_SHOWN].decode("utf-8", "backslashreplace")
    return pretty(payload)


def _change(visit: Visit, found: Case) -> str:
    """What an edit has changed, if this case came from one."""
    if found.parent_id is None:
        return ""
    try:
        parent = visit.desk.get(found.parent_id, who=visit.who)
    except DeskError:
        return ""
    if parent.payload_hash == found.payload_hash:
        return ""
    # Both are as this person may see them already.
    return describe_change(parent.payload, found.payload)
