"""Changing a job's arguments in the editor of a person's choice; what is wrong stands on top."""

from __future__ import annotations

import click
import msgspec

from rabbitjobs.cli.review_text import visible_lines
from rabbitjobs.errors import ArgumentsRefused
from rabbitjobs.review.case import Case
from rabbitjobs.review.desk import Desk
from rabbitjobs.review.edited import pretty


def edited(desk: Desk, case: Case, who: str) -> bytes | None:
    """Open the editor until the arguments fit; the new body, ``None`` if nothing was changed."""
    before = pretty(case.payload)
    shown, problem = before, ""
    while True:
        saved = click.edit(_with_problem(shown, problem), extension=".json")
        plain = None if saved is None else _without_problem(saved)
        if plain is None or plain.strip() in (before.strip(), "", shown.strip() if problem else ""):
            return None
        body = plain.encode("utf-8")
        try:
            desk.check(case.id, msgspec.json.format(body, indent=-1), who=who)
        except (ArgumentsRefused, msgspec.DecodeError) as error:
            shown, problem = plain, str(error)
            continue
        return msgspec.json.format(body, indent=-1)


def _with_problem(body: str, problem: str) -> str:
    if not problem:
        return body
    notes = [*visible_lines(problem), "Save it unchanged to give up."]
    return "".join(f"# {line}\n" for line in notes) + body


def _without_problem(saved: str) -> str:
    lines = saved.splitlines()
    while lines and lines[0].startswith("#"):
        lines.pop(0)
    return "\n".join(lines)
