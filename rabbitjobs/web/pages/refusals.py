"""What a page answers when desk, store or broker refuse: a status, and why in words."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from rabbitjobs.errors import (
    ActionRefused,
    ArgumentsRefused,
    BulkNotFound,
    CaseChanged,
    CaseNotFound,
    NotAllowed,
    RabbitJobsError,
    SendError,
    StoreError,
    UnknownJob,
)
from rabbitjobs.web.pages.rendering import render

_STATUS: tuple[tuple[type[RabbitJobsError], int, str], ...] = (
    (CaseNotFound, 404, "There is no such case"),
    (BulkNotFound, 404, "There is no such bulk action"),
    (NotAllowed, 403, "You may not do that"),
    (CaseChanged, 409, "Somebody was quicker"),
    (ActionRefused, 409, "That is not possible now"),
    (ArgumentsRefused, 422, "That does not fit"),
    (UnknownJob, 422, "The job's code is not here"),
    (SendError, 502, "The broker did not take it"),
    (StoreError, 503, "The store cannot be reached"),
)


def status_of(error: RabbitJobsError) -> tuple[int, str]:
    """The status of an error, and what it means in a few words."""
    for kind, status, title in _STATUS:
        if isinstance(error, kind):
            return status, title
    return 500, "That went wrong"


def refused(request: Request, error: RabbitJobsError) -> Response:
    """A page that says what was refused."""
    status, title = status_of(error)
    return render(request, "refused.html", {"title": title, "text": str(error)}, status=status)
