"""The pages around the cases: the audit, the people, the guide."""

from __future__ import annotations

from starlette.responses import Response

from rabbitjobs.errors import ActionRefused, NotAllowed
from rabbitjobs.web.pages.rendering import render
from rabbitjobs.web.pages.visit import Visit

PAGE = 100
ACTIONS = (
    "taken", "claim", "steal", "let go", "retry", "approve", "edit", "reject", "discard", "resolve",
    "reopen", "snooze", "wake", "escalate", "comment", "tag",
)  # fmt: skip


def audit(visit: Visit) -> Response:
    """What was done to all cases, newest first."""
    text = visit.query("after")
    if text and not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ActionRefused(f"expected a place in the audit, got {text!r}")
    doer, action = visit.query("by"), visit.query("action")
    page = visit.desk.deeds(
        limit=PAGE,
        after=int(text) if text else None,
        doer=doer or None,
        action=action or None,
        who=visit.who,
    )
    return render(visit.request, "audit.html", {
        "title": "Audit", "page": page, "doer": doer, "action": action, "actions": ACTIONS,
        "after": text,
    })  # fmt: skip


def people(visit: Visit) -> Response:
    """Who may do what; for admins."""
    if visit.person.role != "admin":
        raise NotAllowed(f"expected an admin for the list of people, got {visit.who}")
    options = visit.desk.options
    return render(visit.request, "people.html", {"title": "People", "options": options})


def guide(visit: Visit) -> Response:
    """The keys, and what the words mean."""
    return render(visit.request, "guide.html", {"title": "Help"})
