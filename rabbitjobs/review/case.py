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
Action = Literal["retry", "edit", "discard", "resolve", "reopen"]
Reason = Literal["review", "dead-letter", "quarantine"]

STATES: tuple[State, ...] = ("open", "releasing", "released", "closed", "discarded", "resolved")

_ACTIONS: Mapping[State, tuple[Action, ...]] = {
    "open": ("retry", "edit", "discard", "resolve"),
    "releasing": ("reopen",),
    "released": ("reopen",),
    "closed": (),
    "discarded": (),
    "resolved": (),
}
# A message that cannot be read has no job to send again and no caller who waits.
_UNREADABLE: frozenset[Action] = frozenset({"discard"})


class CaseLine(msgspec.Struct, frozen=True, kw_only=True):
    """A case as a list shows it. Times are unix seconds; ``error`` is capped."""

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
    owner: str | None
    tags: tuple[str, ...]


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
        return allowed

    def decoded(self) -> Any:
        """The payload as plain data, or ``None`` if it is no JSON."""
        try:
            return msgspec.json.decode(self.payload)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return None


class AuditRow(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was done to a case. ``version`` is the case's version after it."""

    id: int
    at: float
    who: str
    action: str
    detail: str
    before_hash: str | None
    after_hash: str | None
    version: int


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """Which cases to list: every field that is set must fit. ``text`` is looked for anywhere."""

    state: State | None = None
    queue: str | None = None
    job: str | None = None
    error_type: str | None = None
    text: str | None = None


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Some cases, newest first; ``after`` asks for the next page, ``None``: this is the last."""

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
