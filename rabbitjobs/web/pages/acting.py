"""The actions on one case, each a plain form. The desk decides; this only reads the fields."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec
from starlette.responses import JSONResponse, Response

from rabbitjobs.clock import parse_duration
from rabbitjobs.errors import ActionRefused, ArgumentsRefused, CaseNotFound, RabbitJobsError
from rabbitjobs.review.case import Case
from rabbitjobs.review.desk import Desk
from rabbitjobs.web.pages.case import shown
from rabbitjobs.web.pages.refusals import refused, status_of
from rabbitjobs.web.pages.visit import Visit

Act = Callable[..., Case]


def act(visit: Visit) -> Response:
    """Do what the form says, and go back to the case; refused, it is shown as it is by now."""
    case_id, action = visit.path("case_id"), visit.path("action")
    do = _ACTIONS.get(action)
    if do is None:
        raise ActionRefused(f"expected one of {', '.join(_ACTIONS)}, got {action!r}")
    try:
        done = do(visit, partial(_METHODS[action], visit.desk, case_id, who=visit.who))
    except CaseNotFound:
        raise
    except RabbitJobsError as error:
        return _as_it_is(visit, case_id, error)
    return visit.go(f"/cases/{done.id}?done={action}")


def heartbeat(visit: Visit) -> Response:
    """Prolong a claim: asked for by the script of an open page, so the answer is data."""
    try:
        held = visit.desk.heartbeat(visit.path("case_id"), who=visit.who)
    except RabbitJobsError as error:
        return JSONResponse({"error": str(error)}, status_of(error)[0])
    return JSONResponse({"lease_until": held.lease_until, "version": held.version})


def version_of(visit: Visit) -> int:
    """The version of the case that the person saw; ``ActionRefused`` if the form has none."""
    text = visit.posted("version")
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise ActionRefused("expected the version of the case in the form; load the page again")
    return int(text)


def queue_of(visit: Visit) -> str | None:
    """Another queue to send to, if one is named."""
    return visit.posted("queue").strip() or None


def duration_of(text: str) -> timedelta:
    """A duration as people write it; ``ActionRefused`` for anything else."""
    try:
        return parse_duration(text)
    except (ValueError, OverflowError) as error:
        raise ActionRefused(str(error)) from None


def tags_of(text: str) -> tuple[str, ...]:
    """Tags as they are typed: apart by commas or blanks."""
    return tuple(dict.fromkeys(text.replace(",", " ").split()))


def _as_it_is(visit: Visit, case_id: str, error: RabbitJobsError) -> Response:
    try:
        found = visit.desk.get(case_id, who=visit.who)
    except RabbitJobsError:
        return refused(visit.request, error)
    return shown(visit, found, error)


def _plain(visit: Visit, do: Act) -> Case:
    return do(version=version_of(visit))


def _sending(visit: Visit, do: Act) -> Case:
    return do(version=version_of(visit), queue=queue_of(visit))


def _reasoned(visit: Visit, do: Act) -> Case:
    return do(visit.posted("reason"), version=version_of(visit))


def _comment(visit: Visit, do: Act) -> Case:
    return do(visit.posted("text"), version=version_of(visit))


def _tag(visit: Visit, do: Act) -> Case:
    return do(tags_of(visit.posted("tags")), version=version_of(visit))


def _snooze(visit: Visit, do: Act) -> Case:
    wait = duration_of(visit.posted("for"))
    return do(wait, version=version_of(visit), reason=visit.posted("reason"))


def _resolve(visit: Visit, do: Act) -> Case:
    try:
        result: Any = msgspec.json.decode(visit.posted("result"))
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ArgumentsRefused(f'expected JSON, such as "text", 42 or null; {error}') from None
    return do(result, version=version_of(visit), reason=visit.posted("reason"))


_ACTIONS: dict[str, Callable[[Visit, Act], Case]] = {
    "claim": _plain,
    "steal": _reasoned,
    "let_go": _plain,
    "retry": _sending,
    "approve": _sending,
    "reject": _reasoned,
    "discard": _reasoned,
    "resolve": _resolve,
    "reopen": _reasoned,
    "snooze": _snooze,
    "wake": _plain,
    "escalate": _reasoned,
    "comment": _comment,
    "tag": _tag,
}
_METHODS: dict[str, Callable[..., Case]] = {
    "claim": Desk.claim,
    "steal": Desk.steal,
    "let_go": Desk.let_go,
    "retry": Desk.retry,
    "approve": Desk.approve,
    "reject": Desk.reject,
    "discard": Desk.discard,
    "resolve": Desk.resolve,
    "reopen": Desk.reopen,
    "snooze": Desk.snooze,
    "wake": Desk.wake,
    "escalate": Desk.escalate,
    "comment": Desk.comment,
    "tag": Desk.tag,
}
