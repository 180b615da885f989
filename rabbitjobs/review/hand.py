"""Who acts at the desk, with which rights: every write of a person passes here first."""

from __future__ import annotations

import msgspec
from sqlalchemy import ColumnElement, Connection, or_

from rabbitjobs.errors import ActionRefused, NotAllowed
from rabbitjobs.review import store as rows
from rabbitjobs.review.case import Action, Case, CaseLine
from rabbitjobs.review.moment import moment
from rabbitjobs.review.options import ROLES, DeskOptions, Person, Role
from rabbitjobs.review.payload_fields import hidden
from rabbitjobs.store.schema import cases

_ROLE_FOR: dict[str, Role] = {"look": "viewer", "reopen": "admin", "see": "admin"}
_FOR_THE_REST: Role = "reviewer"


class Hand(msgspec.Struct, frozen=True, kw_only=True):
    """Who acts, when (unix seconds), from where (``via``), and by which options of the desk.

    ``keep`` is the seconds that the result of an ending lives. ``itself``: it is the desk, keeping
    a deadline; it has every right.
    """

    namespace: str
    who: str
    now: float
    keep: float
    options: DeskOptions
    via: str | None = None
    itself: bool = False

    def note(
        self,
        connection: Connection,
        case: Case,
        action: str,
        detail: str,
        *,
        before: str | None = None,
        after: str | None = None,
    ) -> None:
        """Add what was done to the audit of ``case``, as it is now."""
        rows.note(
            connection, case.id, at=self.now, who=self.who, action=action, detail=detail,
            version=case.version, before=before, after=after, via=self.via,
        )  # fmt: skip


def taken(connection: Connection, hand: Hand, case_id: str, version: int, action: Action) -> Case:
    """The case to act on: allowed to this person, as he saw it, in a fit state, and not another's.

    Raises ``NotAllowed``, ``CaseChanged`` (with what changed) or ``ActionRefused``, in this order.
    """
    case = seen(connection, hand, case_id, version, action)
    refuse_unless(case, action)
    refuse_if_held(case, hand)
    return case


def seen(connection: Connection, hand: Hand, case_id: str, version: int, right: str) -> Case:
    """The case, if this person may do that with it, and if it is as he saw it."""
    case = rows.find(connection, hand.namespace, case_id)
    if not hand.itself:
        require(hand.options.person(hand.who), right, case)
    if case.version != version:
        raise rows.changed_since(connection, case.id, version)
    return case


def refuse_unless(case: Case, action: Action) -> None:
    """Raise ``ActionRefused`` unless the state of the case allows the action."""
    if action in case.actions:
        return
    allowed = ", ".join(case.actions) or "nothing"
    what = case.state if case.envelope else f"{case.state} and its message unreadable"
    raise ActionRefused(
        f"expected a case that allows {action}, got case {case.id}, which is {what}; "
        f"allowed now: {allowed}",
        queue=case.queue, job=case.job, job_id=case.job_id,
    )  # fmt: skip


def refuse_if_held(case: CaseLine, hand: Hand) -> None:
    """Raise ``ActionRefused`` while somebody else holds the case."""
    holder = case.held_by(hand.now)
    if holder is not None and holder != hand.who:
        until = moment(case.lease_until)
        raise ActionRefused(
            f"expected a case that nobody else holds, got case {case.id}, claimed by {holder} "
            f"until {until}; wait, or steal it with a reason",
            queue=case.queue, job=case.job, job_id=case.job_id,
        )  # fmt: skip


def require(person: Person, right: str, case: CaseLine | None = None) -> None:
    """Raise ``NotAllowed`` unless this person may do ``right`` (with this case)."""
    needed = _ROLE_FOR.get(right, _FOR_THE_REST)
    if ROLES.index(person.role) < ROLES.index(needed):
        raise NotAllowed(
            f"expected a {needed} for {right}, got {person.name}, who is {person.role}; "
            "ask an admin, or correct review.people in the config"
        )
    if case is not None and not _within(person, case):
        raise NotAllowed(
            f"expected a case of {_limits(person)} for {person.name}, got one of queue "
            f"{case.queue} and job {case.job}; ask an admin",
            queue=case.queue, job=case.job, job_id=case.job_id,
        )  # fmt: skip


def require_queue(hand: Hand, queue: str | None) -> None:
    """Raise ``NotAllowed`` if a job is to be sent to a queue outside this person's limits."""
    person = hand.options.person(hand.who)
    if queue and not hand.itself and person.queues and queue not in person.queues:
        raise NotAllowed(
            f"expected one of {', '.join(person.queues)} for {person.name} to send to, got "
            f"{queue}; ask an admin",
            queue=queue,
        )


def _within(person: Person, case: CaseLine) -> bool:
    in_queues = not person.queues or case.queue in person.queues
    return in_queues and (not person.jobs or case.job in person.jobs)


def _limits(person: Person) -> str:
    parts = [f"queues {', '.join(person.queues)}"] if person.queues else []
    if person.jobs:
        parts.append(f"jobs {', '.join(person.jobs)}")
    return " and ".join(parts)


def within_sql(person: Person) -> tuple[ColumnElement[bool], ...]:
    """The limits of a person as conditions on cases."""
    found: list[ColumnElement[bool]] = []
    if person.queues:
        found.append(or_(*(cases.c.queue == queue for queue in person.queues)))
    if person.jobs:
        found.append(or_(*(cases.c.job == job for job in person.jobs)))
    return tuple(found)


def shown_to(person: Person, case: Case, options: DeskOptions) -> Case:
    """The case as this person may see it: below admin without its sensitive fields."""
    if person.role == "admin":
        return case
    payload, names = hidden(case.payload, options.fields_of(case.job, case.queue).sensitive)
    if not names:
        return case
    envelope = case.envelope and msgspec.structs.replace(case.envelope, body=payload)
    return msgspec.structs.replace(case, payload=payload, envelope=envelope, hidden=names)
