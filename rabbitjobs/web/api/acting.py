"""The actions on one case. Each but the heartbeat needs the version that the caller saw."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec

from rabbitjobs.review.case import Case
from rabbitjobs.web.api import asked, given
from rabbitjobs.web.api.operation import Call, Operation

Act = Callable[[Call, dict[str, Any]], Case]
_SENDING = (409, 422, 502)
_LOCAL = (409, 422)


def _acted(act: Act) -> Callable[[Call], given.CaseWhole]:
    """What becomes of a case by an action, as the one who acted may see it."""

    def handle(call: Call) -> given.CaseWhole:
        case = act(call, {"who": call.who, "version": call.version})
        return given.whole(case, call.desk.offers(case, who=call.who))

    return handle


def _preview(call: Call) -> given.Previewed:
    body: asked.Preview = call.body
    payload = bytes(body.payload)
    return given.Previewed(diff=call.desk.preview(call.path["case_id"], payload, who=call.who))


def _claim(call: Call, fence: dict[str, Any]) -> Case:
    return call.desk.claim(call.path["case_id"], **fence)


def _heartbeat(call: Call, _fence: dict[str, Any]) -> Case:
    return call.desk.heartbeat(call.path["case_id"], who=call.who)


def _steal(call: Call, fence: dict[str, Any]) -> Case:
    return call.desk.steal(call.path["case_id"], call.body.reason, **fence)


def _let_go(call: Call, fence: dict[str, Any]) -> Case:
    return call.desk.let_go(call.path["case_id"], **fence)


def _retry(call: Call, fence: dict[str, Any]) -> Case:
    return call.desk.retry(call.path["case_id"], queue=call.body.queue, **fence)


def _approve(call: Call, fence: dict[str, Any]) -> Case:
    return call.desk.approve(call.path["case_id"], queue=call.body.queue, **fence)


def _edit(call: Call, fence: dict[str, Any]) -> Case:
    body: asked.Edit = call.body
    payload = bytes(body.payload)
    return call.desk.edit(call.path["case_id"], payload, queue=body.queue, **fence)


def _discard(call: Call, fence: dict[str, Any]) -> Case:
    return call.desk.discard(call.path["case_id"], call.body.reason, **fence)


def _reject(call: Call, fence: dict[str, Any]) -> Case:
    return call.desk.reject(call.path["case_id"], call.body.reason, **fence)


def _resolve(call: Call, fence: dict[str, Any]) -> Case:
    body: asked.Resolve = call.body
    return call.desk.resolve(call.path["case_id"], body.result, reason=body.reason, **fence)


def _reopen(call: Call, fence: dict[str, Any]) -> Case:
    return call.desk.reopen(call.path["case_id"], call.body.reason, **fence)


def _comment(call: Call, fence: dict[str, Any]) -> Case:
    return call.desk.comment(call.path["case_id"], call.body.text, **fence)


def _tag(call: Call, fence: dict[str, Any]) -> Case:
    return call.desk.tag(call.path["case_id"], call.body.tags, **fence)


def _snooze(call: Call, fence: dict[str, Any]) -> Case:
    body: asked.Snooze = call.body
    wait = timedelta(seconds=body.seconds)
    return call.desk.snooze(call.path["case_id"], wait, reason=body.reason, **fence)


def _wake(call: Call, fence: dict[str, Any]) -> Case:
    return call.desk.wake(call.path["case_id"], **fence)


def _escalate(call: Call, fence: dict[str, Any]) -> Case:
    return call.desk.escalate(call.path["case_id"], call.body.reason, **fence)


def _action(
    name: str,
    summary: str,
    act: Act,
    body: type[msgspec.Struct] = asked.Body,
    errors: tuple[int, ...] = _LOCAL,
    *,
    fenced: bool = True,
) -> Operation:
    words = name.split("-")
    return Operation(
        "POST",
        f"/cases/{{case_id}}/{name}",
        f"{words[0]}{''.join(map(str.capitalize, words[1:]))}Case",
        summary,
        _acted(act),
        given.CaseWhole,
        body=body,
        fenced=fenced,
        errors=errors,
        tag="actions",
    )


OPERATIONS = (
    _action("claim", "Hold a case: nobody else may act on it until your lease ends", _claim),
    _action("heartbeat", "Prolong your claim", _heartbeat, fenced=False),
    _action("steal", "Take a case from who holds it", _steal, asked.Reason),
    _action("let-go", "Give your claim back", _let_go),
    _action("retry", "Send the job again as it is", _retry, asked.Send, _SENDING),
    _action("approve", "Let a job run that waits for a yes", _approve, asked.Send, _SENDING),
    _action("edit", "Send the job with other arguments: a new case", _edit, asked.Edit, _SENDING),
    _action("discard", "End it: the job has failed", _discard, asked.Reason),
    _action("reject", "Say no to a job that waits for a yes", _reject, asked.Reason),
    _action("resolve", "End it with a result given by hand", _resolve, asked.Resolve),
    _action("reopen", "Take a release back", _reopen, asked.Reason),
    _action("comment", "Add a comment", _comment, asked.Say),
    _action("tag", "Set the tags", _tag, asked.SetTags),
    _action("snooze", "Put it off", _snooze, asked.Snooze),
    _action("wake", "End a snooze now", _wake),
    _action("escalate", "Raise its severity by one", _escalate, asked.Reason),
    Operation(
        "POST", "/cases/{case_id}/preview", "previewEdit", "What an edit would change",
        _preview, given.Previewed, body=asked.Preview, errors=_LOCAL, tag="actions",
    ),
)  # fmt: skip
