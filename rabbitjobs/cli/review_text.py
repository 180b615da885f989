"""Cases as text: what a terminal shows, with everything escaped that could play tricks with it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from rabbitjobs.clock import format_duration
from rabbitjobs.review.case import AuditRow, Case, CaseLine, Stats
from rabbitjobs.review.edited import pretty
from rabbitjobs.topology.draw import padded, width

HEADINGS = ("CASE", "STATE", "JOB", "QUEUE", "ATT", "ERROR", "AGE")
# Ids are UUIDs of version 7: the first twelve digits are the time, so fewer would hardly differ.
SHORT_ID = 18


def visible(text: str) -> str:
    """The text with control characters and direction marks as escapes: one line, no tricks."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(sign) for sign in text)


def _escape(sign: str) -> str:
    if unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return sign.encode("unicode_escape").decode("ascii")
    return sign


def visible_lines(text: str) -> list[str]:
    """Each line by itself, escaped; tabs become spaces."""
    return [visible(line) for line in text.expandtabs(4).split("\n")]


def as_row(case: CaseLine, now: float) -> tuple[str, ...]:
    """One case as the columns of a list."""
    error = f"{case.error_type.rpartition('.')[2]}: {case.error}" if case.error else case.error_type
    return (
        case.id[:SHORT_ID],
        case.state,
        visible(case.job or "-"),
        visible(case.queue or "-"),
        str(case.attempt),
        visible(error.split("\n", 1)[0])[:60],
        _age(now - case.opened),
    )


def columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Plain columns, for pipes and files; wide signs (Korean) take two places."""
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(map(padded, row, widths)).rstrip()


def describe(case: Case, audit: Iterable[AuditRow]) -> Iterator[str]:
    """Everything that is known of a case, line by line."""
    yield from _facts(case)
    yield from _section("history", _history(case))
    yield from _section("traceback", visible_lines(case.traceback) if case.traceback else ())
    yield from _section(
        f"payload (sha256 {case.payload_hash})", visible_lines(pretty(case.payload))
    )
    yield from _section("audit", [line for row in audit for line in _audit(row)])


def _facts(case: Case) -> Iterator[str]:
    origin = case.origin
    facts = {
        "case": f"{case.id}  version {case.version}",
        "state": case.state + (f" ({case.outcome})" if case.outcome else ""),
        "allowed": ", ".join(case.actions) or "nothing",
        "job": f"{case.job or '-'}  id {case.job_id or '-'}  attempt {case.attempt}",
        "queue": case.queue,
        "reason": f"{case.reason}; rule: {case.rule}",
        "error": f"{case.error_type}: {case.error}",
        "kind": f"{case.kind} ({' > '.join(case.classes)})" if case.classes else case.kind,
        "opened": moment(case.opened),
        "updated": moment(case.updated),
        "closed": moment(case.closed),
        "owner": case.owner,
        "tags": ", ".join(case.tags),
        "from": f"exchange {origin.exchange or '-'}, key {origin.routing_key or '-'}, "
        f"queue {origin.source_queue or '-'}",
        "published": f"{moment(origin.published)} by {origin.app_id or 'unknown'}",
        "message": case.message_id,
        "correlation": case.correlation_id,
        "trace": case.trace,
        "priority": None if case.priority is None else str(case.priority),
        "release": f"{case.release_id}, attempt {case.release_attempt}" if case.release_id else "",
        "edited from": case.parent_id,
        "edited as": case.child_id,
    }
    for label, value in facts.items():
        if value:
            yield f"{label:<12} {visible(value)}"
    for death in origin.deaths:
        yield f"{'broker':<12} {visible(str(death))}"


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    body = list(lines)
    if body:
        yield ""
        yield f"{title}:"
        yield from (f"  {line}" for line in body)


def _history(case: Case) -> Iterator[str]:
    for past in case.history:
        what = visible(f"{past.error_type}: {past.error}") if past.error_type else "-"
        yield f"attempt {past.attempt}  {moment(past.started)}  {past.seconds:.3f} s  {what}"


def _audit(row: AuditRow) -> Iterator[str]:
    first, *more = visible_lines(row.detail)
    yield f"{moment(row.at)}  v{row.version}  {visible(row.who)}  {row.action}  {first}".rstrip()
    yield from (f"    {line}" for line in more)


def statistics(stats: Stats) -> Iterator[str]:
    """Counts, by kind."""
    for title, counts in (
        ("all cases by state", stats.states),
        ("open by queue", stats.queues),
        ("open by error", stats.error_types),
        ("open by age", stats.ages),
    ):
        yield f"{title}:"
        rows = [(visible(name), str(number)) for name, number in counts.items()] or [("none", "0")]
        yield from (f"  {line}" for line in columns(rows))


def moment(at: float | None) -> str:
    """A time in UTC; empty for none. A message may claim a time that no calendar has."""
    if at is None:
        return ""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{at:.0f} s after 1970"


def _age(seconds: float) -> str:
    whole = max(0, int(seconds))
    for size in (86400, 3600, 60):
        if whole >= size:
            whole -= whole % size
            break
    return format_duration(timedelta(seconds=whole))
