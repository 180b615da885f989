"""What a person may do with a case now: what a page or a script offers him."""

from __future__ import annotations

from rabbitjobs.errors import NotAllowed
from rabbitjobs.review.case import Case, CaseLine
from rabbitjobs.review.hand import require
from rabbitjobs.review.options import Person


def offers(person: Person, case: Case, now: float) -> tuple[str, ...]:
    """The names of the desk's methods that would not be refused, as things stand at ``now``."""
    found = [*_of_state(person, case, now), *_always(case, person, now)]
    return tuple(name for name in found if _permits(person, name, case))


def _of_state(person: Person, case: Case, now: float) -> tuple[str, ...]:
    holder = case.held_by(now)
    if holder is not None and holder != person.name:
        return ("steal",)
    allowed: tuple[str, ...] = case.actions
    if holder is not None:
        allowed = ("heartbeat", "let_go", *allowed)
    return (*allowed, "wake") if case.asleep(now) else allowed


def _always(case: CaseLine, person: Person, now: float) -> tuple[str, ...]:
    free = case.held_by(now) in (None, person.name)
    loud = ("escalate",) if case.state == "open" and free else ()
    return (*loud, "comment", "tag")


def _permits(person: Person, name: str, case: CaseLine) -> bool:
    try:
        require(person, name, case)
    except NotAllowed:
        return False
    return True
