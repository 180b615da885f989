"""What an error means over HTTP: a status, and a problem document (RFC 9457) for programs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
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
    TokenNotFound,
    TooLarge,
    UnknownJob,
    Unroutable,
)
from rabbitjobs.secret import mask

MEDIA = "application/problem+json"
_STATUS: tuple[tuple[type[RabbitJobsError], int], ...] = (
    (CaseNotFound, 404),
    (BulkNotFound, 404),
    (TokenNotFound, 404),
    (NotAllowed, 403),
    (CaseChanged, 412),
    (ActionRefused, 409),
    (ArgumentsRefused, 422),
    (UnknownJob, 422),
    (Unroutable, 422),
    (TooLarge, 413),
    (SendError, 502),
    (StoreError, 503),
)
_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What went wrong. ``type`` names the kind of error, ``detail`` says it in words.

    ``queue``, ``job`` and ``job_id`` say what it is about, where that applies.
    """

    type: str
    title: str
    status: int
    detail: str = ""
    queue: str | None = None
    job: str | None = None
    job_id: str | None = None


def problem_of(error: RabbitJobsError) -> Problem:
    """Our own error as a problem; the text is without passwords."""
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    name = type(error).__name__
    return Problem(
        type=f"urn:rabbitjobs:{_CAPITAL.sub('-', name).lower()}",
        title=_CAPITAL.sub(" ", name).capitalize(),
        status=status,
        detail=mask(error.text),
        queue=error.queue,
        job=error.job,
        job_id=error.job_id,
    )


def plain_problem(status: int, detail: str) -> Problem:
    """A problem of HTTP itself: no such path, no such method, nobody logged in."""
    return Problem(
        type="about:blank", title=HTTPStatus(status).phrase, status=status, detail=detail
    )


def response_of(problem: Problem, headers: Mapping[str, Any] | None = None) -> Response:
    """The problem as a response."""
    more = {"Retry-After": "5"} if problem.status == 503 else {}
    body = msgspec.json.encode(_sendable(problem))
    return Response(body, problem.status, {**more, **(headers or {})}, MEDIA)


def _sendable(problem: Problem) -> Problem:
    # A payload may hold half a character, which no UTF-8 can.
    return msgspec.structs.replace(
        problem, detail=problem.detail.encode("utf-8", "backslashreplace").decode("utf-8")
    )
