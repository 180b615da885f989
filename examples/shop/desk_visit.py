"""A visit to the review desk, by command, as a person makes it."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import dataclass
from typing import Any

from rich.markup import escape

from examples.shop.screen import Screen
from examples.shop.stage import Stage

GARBLED = "json.decoder.JSONDecodeError"
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Found:
    """A case of the list: its id, and the job that it is about."""

    case: str
    job_id: str


def find(cases: list[dict[str, Any]], text: str) -> list[Found]:
    """The cases whose error, type or message, holds a text; the oldest first."""
    fit = [one for one in cases if text in one["error_type"] or text in one["error"]]
    return [Found(one["id"], one["job_id"]) for one in reversed(fit)]


def visit(stage: Stage, screen: Screen) -> list[str]:
    """Handle some cases by command; returns the ids of some of their jobs."""
    listed = stage.rabbitjobs("review", "list", "--limit", "1000", "--json")
    cases = json.loads(listed)["cases"]
    screen.say(f"{len(cases)} cases wait on the review desk; we handle some of them by command:")
    handled: list[Found] = []

    def handle(text: str, *command: str, editor: str | None = None, many: bool = False) -> None:
        found = find(cases, text)[: None if many else 1]
        if found:
            action, *options = command
            ids = [one.case for one in found]
            _run(stage, screen, "review", action, *ids, *options, editor=editor)
            handled.extend(found)

    for price in find(cases, "price")[:1]:
        screen.quote(stage.rabbitjobs("review", "show", price.case), lines=9)
    handle("price", "edit", editor=_editor(" 0.00", "14.37"))
    handle("for one CD", "edit", editor=_editor("{}", '{"approved": true}'))
    called = "the buyer was called"
    handle("27 CDs", "resolve", "--result", '"sold by hand"', "--reason", called)
    handle("expected customer", "discard", "--reason", "the column names are no order")
    handle(GARBLED, "retry", many=True)
    return [one.job_id for one in handled][:SHOWN]


def show_results(stage: Stage, screen: Screen, jobs: list[str]) -> None:
    """Read what became of the jobs, by command."""
    for job_id in jobs:
        # A discarded job has failed, and one whose answer was garbled once more waits for a person
        # again: the command says so by its exit code.
        told = json.loads(stage.rabbitjobs("result", job_id, "--json", allowed=(0, 1, 3)))
        screen.say(escape(f"result {job_id}: {told['status']}: {told['result'] or told['error']}"))


def _run(stage: Stage, screen: Screen, *command: str, editor: str | None = None) -> None:
    told = stage.rabbitjobs(*command, editor=editor)
    screen.say(escape(f"rabbitjobs {shlex.join(command)}"))
    screen.quote(told, lines=3)


def _editor(old: str, new: str) -> str:
    return shlex.join([sys.executable, "-m", "examples.shop.editor", old, new])
