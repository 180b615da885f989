"""A bulk action as values: what is done to which cases, how carefully, and what became of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

BulkAction = Literal["retry", "approve", "discard", "reject", "snooze", "tag"]
BULK_ACTIONS: tuple[BulkAction, ...] = ("retry", "approve", "discard", "reject", "snooze", "tag")
SENDING: frozenset[BulkAction] = frozenset({"retry", "approve"})

BulkState = Literal["ready", "running", "canary", "done", "stopped"]
Fate = Literal["waiting", "refused", "failed", "under way", "succeeded", "ended", "done"]
"""Of one case: not begun; refused by the desk; failed again, or not taken by the broker; sent and
without an end; succeeded; ended in another way; done (an action that sends nothing)."""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """How a bulk action is done.

    ``queue`` is another queue to retry on, ``reason`` that of a discard or rejection, ``seconds``
    those of a snooze, ``tags`` what is set. The first ``canary`` cases are sent alone: the rest
    follows only once their jobs have succeeded. ``rate`` is cases per second at most, 0: no cap.
    More than ``failures`` failed ones stop it; ``None``: nothing does.
    """

    queue: str | None = None
    reason: str = ""
    seconds: float = 0.0
    tags: tuple[str, ...] = ()
    canary: int = 0
    rate: float = 0.0
    failures: int | None = None


class Bulk(msgspec.Struct, frozen=True, kw_only=True):
    """A bulk action. ``why`` says what it waits for, or why it was stopped. Times: unix seconds.

    ``counts`` are its cases by fate.
    """

    id: str
    who: str
    action: BulkAction
    terms: Terms
    state: BulkState
    why: str
    created: float
    updated: float
    next_at: float
    total: int
    counts: Mapping[str, int] = {}


class BulkItem(msgspec.Struct, frozen=True, kw_only=True):
    """One case of it: ``place`` counts from 1, ``outcome`` says it in words."""

    place: int
    case_id: str
    fate: Fate
    outcome: str
    at: float | None


class BulkItems(msgspec.Struct, frozen=True, kw_only=True):
    """Some of its cases in order; ``after`` asks for the next page, ``None``: the last."""

    items: tuple[BulkItem, ...]
    after: int | None
