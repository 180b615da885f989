"""How a desk is set up: people, fields of payloads, deadlines. Read from ``review:`` in the config.

Free of SQLAlchemy: the settings read it in every process.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final, Literal, cast

import msgspec

from rabbitjobs.fields import Field

Role = Literal["nobody", "viewer", "reviewer", "admin"]
ROLES: Final[tuple[Role, ...]] = ("nobody", "viewer", "reviewer", "admin")
"""Each may do what those before it may."""

DeadlineDo = Literal["escalate", "discard", "retry"]
DEADLINE_DOES: Final[tuple[DeadlineDo, ...]] = ("escalate", "discard", "retry")
EVERY_QUEUE: Final = "*"
_LEASE = timedelta(minutes=10)
_SECOND, _YEARS = timedelta(seconds=1), timedelta(days=3660)


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody at the desk. ``queues`` and ``jobs`` limit what he sees and does; empty: all."""

    name: str
    role: Role
    queues: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()


class FieldRules(msgspec.Struct, frozen=True, kw_only=True):
    """Places in a payload (``args.0``, ``kwargs.card.number``, ``*`` for any).

    ``locked`` ones stay as they are in every edit; ``sensitive`` ones are seen by admins only.
    """

    locked: tuple[str, ...] = ()
    sensitive: tuple[str, ...] = ()

    def with_those_of(self, other: FieldRules) -> FieldRules:
        """Both together."""
        return FieldRules(
            locked=(*self.locked, *other.locked), sensitive=(*self.sensitive, *other.sensitive)
        )


class DeadlineRule(msgspec.Struct, frozen=True, kw_only=True):
    """How long a case may wait for a person, and what is done with it then."""

    after: timedelta
    do: DeadlineDo


class DeskOptions(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. Without ``people`` everybody is an admin; with them ``others`` is for the rest."""

    lease: timedelta = _LEASE
    people: Mapping[str, Person] = {}
    others: Role = "nobody"
    jobs: Mapping[str, FieldRules] = {}
    queues: Mapping[str, FieldRules] = {}
    deadlines: Mapping[str, DeadlineRule] = {}

    def person(self, who: str) -> Person:
        """What this name may do."""
        if not self.people:
            return Person(name=who, role="admin")
        return self.people.get(who) or Person(name=who, role=self.others)

    def fields_of(self, job: str | None, queue: str | None) -> FieldRules:
        """The fields of a payload of this job in this queue.

        Of a message that tells neither, any field that is sensitive anywhere may be in it.
        """
        if job is None and queue is None:
            found = FieldRules()
            for rules in (*self.jobs.values(), *self.queues.values()):
                found = found.with_those_of(rules)
            return found
        by_job = self.jobs.get(job or "", FieldRules())
        return by_job.with_those_of(self.queues.get(queue or "", FieldRules()))

    def deadline_of(self, queue: str | None) -> DeadlineRule | None:
        """The deadline for a case of this queue, if it has one."""
        return self.deadlines.get(queue or "") or self.deadlines.get(EVERY_QUEUE)


DEFAULT: Final = DeskOptions()


def read(place: Field) -> DeskOptions:
    """Read ``review:``; what is wrong is collected in the document, with file and line."""
    place.keys("lease", "people", "others", "jobs", "queues", "deadlines")
    people = {str(one.path[-1]): _person(one) for one in place.child("people").entries()}
    others = place.child("others")
    if others.given and not people:
        others.fail("people beside it: without them everybody is an admin")
    return DeskOptions(
        lease=place.child("lease").duration(_LEASE, least=_SECOND * 5, most=timedelta(days=7)),
        people=people,
        others=cast("Role", others.choice(ROLES, "nobody")),
        jobs={str(one.path[-1]): _fields(one) for one in place.child("jobs").entries()},
        queues={str(one.path[-1]): _fields(one) for one in place.child("queues").entries()},
        deadlines={str(one.path[-1]): _deadline(one) for one in place.child("deadlines").entries()},
    )


def _person(place: Field) -> Person:
    place.keys("role", "queues", "jobs", required=("role",))
    return Person(
        name=str(place.path[-1]),
        role=cast("Role", place.child("role").choice(ROLES, "nobody")),
        queues=place.child("queues").texts(),
        jobs=place.child("jobs").texts(),
    )


def _fields(place: Field) -> FieldRules:
    place.keys("locked", "sensitive")
    return FieldRules(
        locked=_paths(place.child("locked")), sensitive=_paths(place.child("sensitive"))
    )


def _paths(place: Field) -> tuple[str, ...]:
    for item in place.items():
        item.text(fault=_path_fault)
    return place.texts()


def _path_fault(text: str) -> str | None:
    first, *rest = text.split(".")
    if first in ("args", "kwargs") and rest and all(rest):
        return None
    return "a place in the payload, such as args.0 or kwargs.card.number"


def _deadline(place: Field) -> DeadlineRule:
    place.keys("after", "do", required=("after", "do"))
    return DeadlineRule(
        after=place.child("after").duration(_YEARS, least=_SECOND, most=_YEARS),
        do=cast("DeadlineDo", place.child("do").choice(DEADLINE_DOES, "escalate")),
    )
