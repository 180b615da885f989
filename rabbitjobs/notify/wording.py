"""What a notification says: one failure, or a digest of many, as a frozen message. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from rabbitjobs.notify.note import Completion, Note

GROUPS_SHOWN = 20
IDS_SHOWN = 3
ERROR_SHOWN = 500
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")


@dataclass(frozen=True, slots=True)
class Message:
    """One message for one channel.

    ``id`` is the same whenever the same failures are told again, so that a receiver can drop a
    repeat. ``subject`` is one line, ``text`` many, ``data`` the same as plain JSON values.
    """

    id: str
    subject: str
    text: str
    data: Mapping[str, Any]
    notes: tuple[Note, ...] = ()


@dataclass(slots=True)
class Group:
    """Failures of one job with one error and one consequence."""

    job: str
    queue: str
    error_type: str
    then: str
    count: int = 0
    first: float = 0.0
    last: float = 0.0
    error: str = ""
    job_ids: list[str] = field(default_factory=list)

    def add(self, note: Note) -> None:
        """Count one more failure of this kind."""
        self.first = min(self.first, note.at) if self.count else note.at
        self.last = max(self.last, note.at)
        self.error = self.error or one_line(note.failure.error)
        self.count += 1
        if len(self.job_ids) < IDS_SHOWN:
            self.job_ids.append(note.job_id)


def one_line(text: str, limit: int = ERROR_SHOWN) -> str:
    """``text`` without line breaks and control characters, cut at ``limit`` characters."""
    flat = _CONTROL.sub(" ", text).strip()
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def single(note: Note, title: str) -> Message:
    """The message for one failure."""
    failure = note.failure
    subject = one_line(f"[{title}] {note.job} failed: {failure.error_type}", 200)
    rows = (
        ("job", note.job),
        ("queue", note.queue),
        ("id", note.job_id),
        ("attempt", str(note.attempt)),
        ("when", _when(note.at)),
        ("kind", failure.kind),
        ("error", f"{failure.error_type}: {failure.error}"),
        ("rule", note.rule),
        ("then", note.then),
    )
    text = "\n".join(f"{label + ':':<9}{one_line(value)}" for label, value in rows)
    data = {
        "type": "job.failed",
        "job": note.job,
        "queue": note.queue,
        "job_id": note.job_id,
        "attempt": note.attempt,
        "kind": failure.kind,
        "error_type": failure.error_type,
        "error": one_line(failure.error),
        "rule": note.rule,
        "then": note.then,
        "at": note.at,
    }
    return Message(note.key, subject, text + "\n", data, (note,))


def digest(notes: Sequence[Note], title: str) -> Message:
    """The message for many failures: counts by job and error, most frequent first."""
    groups = group(notes)
    count = len(notes)
    kinds = ", ".join(f"{g.job} {g.error_type} x{g.count:,}" for g in groups[:3])
    more = f", and {len(groups) - 3:,} more kinds" if len(groups) > 3 else ""
    subject = one_line(f"[{title}] {count:,} more failures: {kinds}{more}", 200)
    first, last = _when(min(n.at for n in notes)), _when(max(n.at for n in notes))
    lines = [f"{count:,} more jobs failed between {first} and {last}.", ""]
    for entry in groups[:GROUPS_SHOWN]:
        kind = one_line(f"{entry.job} (queue {entry.queue}): {entry.error_type}", 200)
        lines += [
            f"{entry.count:>7,} x {kind}; then {one_line(entry.then)}",
            f"          first: {entry.error}",
            f"          ids: {', '.join(map(one_line, entry.job_ids))}",
        ]
    if len(groups) > GROUPS_SHOWN:
        rest = groups[GROUPS_SHOWN:]
        lines.append(f"{sum(g.count for g in rest):>7,} x {len(rest):,} other kinds")
    data = {"type": "jobs.failed", "count": count, "groups": [_plain(g) for g in groups[:100]]}
    return Message(_digest_id(notes), subject, "\n".join(lines) + "\n", data, tuple(notes))


def group(notes: Sequence[Note]) -> list[Group]:
    """The kinds of failure among ``notes``, most frequent first."""
    groups: dict[tuple[str, str, str, str], Group] = {}
    for note in notes:
        kind = (note.job, note.queue, note.failure.error_type, note.then)
        groups.setdefault(kind, Group(*kind)).add(note)
    return sorted(groups.values(), key=lambda entry: (-entry.count, entry.job, entry.error_type))


def completion(note: Completion) -> dict[str, Any]:
    """The JSON body of a completion webhook."""
    return {
        "type": "job.done",
        "job_id": note.job_id,
        "job": note.job,
        "queue": note.queue,
        "status": note.status,
        "error_type": note.error_type,
        "error": one_line(note.error) if note.error is not None else None,
        "ended": note.ended,
    }


def _plain(entry: Group) -> dict[str, Any]:
    return {
        "job": entry.job,
        "queue": entry.queue,
        "error_type": entry.error_type,
        "then": entry.then,
        "count": entry.count,
        "first": entry.first,
        "last": entry.last,
        "error": entry.error,
        "job_ids": list(entry.job_ids),
    }


def _digest_id(notes: Sequence[Note]) -> str:
    keys = "\n".join(sorted(note.key for note in notes))
    return "digest:" + hashlib.sha256(keys.encode("utf-8", "replace")).hexdigest()[:32]


def _when(at: float) -> str:
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        # A note can come from a stranger: a time past the year 9999 must not stop the channel.
        return str(at)
