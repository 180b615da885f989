"""A case: one item on the review desk, as frozen values, and the states it goes through."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from rabbitjobs.message.envelope import AttemptRecord, Envelope
from rabbitjobs.message.properties import Properties
from rabbitjobs.policy.decision import FailureKind

State = Literal["open", "releasing", "released", "closed", "discarded", "resolved"]
Action = Literal[
    "claim", "retry", "edit", "discard", "resolve", "snooze", "reopen", "approve", "reject"
]
Reason = Literal["review", "dead-letter", "quarantine"]

STATES: tuple[State, ...] = ("open", "releasing", "released", "closed", "discarded", "resolved")

_ACTIONS: Mapping[State, tuple[Action, ...]] = {
    "open": ("claim", "retry", "edit", "discard", "resolve", "snooze"),
    "releasing": ("reopen",),
    "released": ("reopen",),
    "closed": (),
    "discarded": (),
    "resolved": (),
}
# A message that cannot be read has no job to send again and no caller who waits.
_UNREADABLE: frozenset[Action] = frozenset({"claim", "discard", "snooze"})
# A job that has not run yet waits for a yes or a no; an edit of it is a yes to something else.
_AT_THE_GATE: Mapping[Action, Action] = {"retry": "approve", "discard": "reject"}


class CaseLine(msgspec.Struct, frozen=True, kw_only=True):
    """A case as a list shows it. Times are unix seconds; ``error`` is capped.

    ``seen`` is when it last failed, ``failures`` how often; cases with one ``fingerprint`` have one
    cause. ``owner`` is who acted last, and holds it until ``lease_until``. At ``deadline`` the desk
    does ``deadline_do`` by itself. ``severity`` is 0, and one more for each escalation.
    """

    id: str
    version: int
    state: State
    outcome: str | None
    reason: Reason
    job: str | None
    job_id: str | None
    queue: str | None
    attempt: int
    error_type: str
    error: str
    opened: float
    updated: float
    seen: float
    failures: int
    fingerprint: str
    owner: str | None
    lease_until: float | None
    snoozed_until: float | None
    deadline: float | None
    deadline_do: str | None
    severity: int
    tags: tuple[str, ...]

    def held_by(self, now: float) -> str | None:
        """Who has claimed it at ``now``; ``None`` when nobody has, or the lease has run out."""
        return self.owner if self.lease_until is not None and self.lease_until > now else None

    def asleep(self, now: float) -> bool:
        """Whether it is snoozed at ``now``."""
        return self.state == "open" and self.snoozed_until is not None and self.snoozed_until > now


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a message came from. ``deaths`` is the broker's x-death header as plain data."""

    exchange: str
    routing_key: str
    source_queue: str
    app_id: str | None
    published: float | None
    deaths: list[dict[str, Any]] = []


class Case(CaseLine, frozen=True, kw_only=True):
    """One case with everything that is known of it.

    ``version`` is the fence: every write carries the version it was made from. ``payload`` is the
    exact body as it came, ``payload_hash`` its SHA-256. ``kind``, ``error_type``, ``error``,
    ``classes``, ``traceback`` are the failure; ``rule`` names the policy rule that sent it here.
    ``parent_id`` and ``child_id`` link the case of an edited message to that of the old one.
    ``hidden`` are the fields of the payload that the person who looks may not see.
    """

    message_id: str | None
    correlation_id: str | None
    trace: str | None
    priority: int | None
    origin: Origin
    kind: FailureKind
    classes: tuple[str, ...]
    traceback: str
    rule: str
    envelope: Envelope | None
    properties: Properties
    payload: bytes
    payload_hash: str
    release_id: str | None
    release_attempt: int | None
    parent_id: str | None
    child_id: str | None
    closed: float | None
    hidden: tuple[str, ...] = ()

    @property
    def history(self) -> tuple[AttemptRecord, ...]:
        """Every earlier attempt that the message carried."""
        return self.envelope.history if self.envelope else ()

    @property
    def actions(self) -> tuple[Action, ...]:
        """What a person may do with it now."""
        allowed = _ACTIONS[self.state]
        if self.envelope is None:
            return tuple(action for action in allowed if action in _UNREADABLE)
        if self.kind == "approval":
            return tuple(_AT_THE_GATE.get(action, action) for action in allowed)
        return allowed

    def decoded(self) -> Any:
        """The payload as plain data, or ``None`` if it is no JSON."""
        try:
            return msgspec.json.decode(self.payload)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return None


class AuditRow(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was done to a case. ``version`` is the case's version after it.

    ``via`` is from where, if known. ``hash`` covers this row and the one before; ``None`` in rows
    older than the chain.
    """

    id: int
    at: float
    who: str
    action: str
    detail: str
    before_hash: str | None
    after_hash: str | None
    version: int
    via: str | None = None
    hash: str | None = None


Sort = Literal["newest", "oldest", "updated", "deadline"]
SORTS: tuple[Sort, ...] = ("newest", "oldest", "updated", "deadline")


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """Which cases to list: every field that is set must fit.

    ``text`` is looked for in ids, errors and arguments, from the beginning of a word on. ``owner``
    is who acted last, ``claimed`` whether somebody holds the case now, ``snoozed`` whether it
    sleeps now. ``since`` and ``until`` (unix seconds) bound when it was opened. ``reason`` is how
    it came to the desk.
    """

    state: State | None = None
    queue: str | None = None
    job: str | None = None
    error_type: str | None = None
    text: str | None = None
    fingerprint: str | None = None
    owner: str | None = None
    claimed: bool | None = None
    snoozed: bool | None = None
    reason: Reason | None = None
    tag: str | None = None
    job_id: str | None = None
    since: float | None = None
    until: float | None = None


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Some cases in the order asked for; ``after`` asks for the next page, ``None``: the last."""

    cases: tuple[CaseLine, ...]
    after: str | None


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """Counts: all cases by state; the open ones by queue, error type and age."""

    states: dict[str, int]
    queues: dict[str, int]
    error_types: dict[str, int]
    ages: dict[str, int]


def hash_of(payload: bytes) -> str:
    """SHA-256 of a payload, in hex."""
    return hashlib.sha256(payload).hexdigest()
