"""Editing the arguments of a job: as fields or as JSON, checked before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from starlette.responses import Response

from rabbitjobs.errors import ArgumentsRefused, CaseNotFound, NotAllowed, RabbitJobsError
from rabbitjobs.review.case import Case
from rabbitjobs.review.edited import pretty
from rabbitjobs.web.pages.acting import queue_of, version_of
from rabbitjobs.web.pages.fields import body_of, edited, fields_of
from rabbitjobs.web.pages.refusals import status_of
from rabbitjobs.web.pages.rendering import render
from rabbitjobs.web.pages.visit import Visit

_FIELD = "field."


class _Try(NamedTuple):
    """What came of a try: the change as a diff, or the error that kept it from being sent."""

    change: str = ""
    error: RabbitJobsError | None = None


def edit(visit: Visit) -> Response:
    """The form, with the arguments as they are."""
    found = visit.desk.get(visit.path("case_id"), who=visit.who)
    return _shown(visit, found, _Try())


def send(visit: Visit) -> Response:
    """Check what was typed and show what it changes, or send it."""
    found = visit.desk.get(visit.path("case_id"), who=visit.who)
    try:
        body = _body(visit, found)
        if visit.posted("do") != "send":
            return _shown(visit, found, _Try(visit.desk.preview(found.id, body, who=visit.who)))
        made = visit.desk.edit(
            found.id, body, who=visit.who, version=version_of(visit), queue=queue_of(visit)
        )
    except (CaseNotFound, NotAllowed):
        raise
    except RabbitJobsError as error:
        newest = visit.desk.get(found.id, who=visit.who)
        return _shown(visit, newest, _Try(error=error))
    return visit.go(f"/cases/{made.id}?done=edit")


def _body(visit: Visit, found: Case) -> bytes:
    """The body that was typed; the bytes as they were if nothing was changed in it."""
    plain = body_of(found.payload)
    if plain is None or visit.posted("as") == "json":
        return _of_json(visit.posted("body"), found.payload)
    changed = edited(plain, visit.desk.parameters(found.job), _typed(visit))
    return found.payload if _same(changed, plain) else msgspec.json.encode(changed)


def _of_json(text: str, before: bytes) -> bytes:
    if text.strip() == pretty(before).strip():
        return before
    try:
        return msgspec.json.format(text.encode("utf-8"), indent=-1)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ArgumentsRefused(f"expected JSON; {error}", faults={"body": str(error)}) from None


def _typed(visit: Visit) -> dict[str, str]:
    """What stands in the fields, by their place in the body."""
    names = [name for name in visit.form if name.startswith(_FIELD)]
    return {name.removeprefix(_FIELD): visit.posted(name) for name in names}


def _shown(visit: Visit, found: Case, tried: _Try) -> Response:
    plain = body_of(found.payload)
    as_json = plain is None or (visit.query("as") or visit.posted("as")) == "json"
    faults = tried.error.faults if isinstance(tried.error, ArgumentsRefused) else {}
    rules = visit.desk.options.fields_of(found.job, found.queue)
    if visit.person.role == "admin":  # nothing is hidden from him
        rules = msgspec.structs.replace(rules, sensitive=())
    fields = [] if plain is None else fields_of(
        plain, visit.desk.parameters(found.job), rules, typed=_typed(visit), faults=faults
    )  # fmt: skip
    status, problem = status_of(tried.error) if tried.error else (200, "")
    return render(visit.request, "edit.html", {
        "title": f"Edit {found.job or found.id}",
        "case": found,
        "allowed": "edit" in visit.desk.offers(found, who=visit.who),
        "fields": fields,
        "as_json": as_json,
        "body": visit.posted("body") or pretty(found.payload),
        "body_fault": faults.get("body", ""),
        "queues": visit.queues,
        "queue": visit.posted("queue"),
        "change": tried.change,
        "problem": problem,
        "problem_text": str(tried.error) if tried.error else "",
        "has_fields": plain is not None,
    }, status=status)  # fmt: skip


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    # As JSON: True and 1 are equal in Python, and not the same argument.
    return msgspec.json.encode(one) == msgspec.json.encode(other)
