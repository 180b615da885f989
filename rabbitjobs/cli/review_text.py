"""Cases as text: what a terminal shows, with everything escaped that could play tricks with it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta

from rabbitjobs.clock import format_duration
from rabbitjobs.review.bulk_case import Bulk, BulkItem
from rabbitjobs.review.case import AuditRow, Case, CaseLine, Stats
from rabbitjobs.review.edited import pretty
from rabbitjobs.review.groups import Group
from rabbitjobs.review.moment import moment
from rabbitjobs.review.options import DeskOptions
from rabbitjobs.review.trail import Comment
from rabbitjobs.topology.draw import padded, width

GROUP_HEADINGS = ("GROUP", "OPEN", "ALL", "JOB", "ERROR", "FIRST", "LAST")
PEOPLE_HEADINGS = ("NAME", "ROLE", "QUEUES", "JOBS")
BULK_HEADINGS = ("BULK", "STATE", "ACTION", "CASES", "WHO", "AGE")
BULK_ITEM_HEADINGS = ("PLACE", "CASE", "FATE", "OUTCOME")
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


def as_group(group: Group, now: float) -> tuple[str, ...]:
    """One cause as the columns of a list."""
    error = f"{group.error_type.rpartition('.')[2]}: {group.error}"
    return (
        group.fingerprint,
        str(group.open),
        str(group.total),
        visible(group.job or "-"),
        visible(error.split("\n", 1)[0])[:60],
        _age(now - group.first_seen),
        _age(now - group.last_seen),
    )


def as_row(case: CaseLine, now: float) -> tuple[str, ...]:
    """One case as the columns of a list."""
    error = f"{case.error_type.rpartition('.')[2]}: {case.error}" if case.error else case.error_type
    return (
        case.id[:SHORT_ID],
        _state(case, now),
        visible(case.job or "-"),
        visible(case.queue or "-"),
        str(case.attempt),
        visible(error.split("\n", 1)[0])[:60],
        _age(now - case.opened),
    )


def _state(case: CaseLine, now: float) -> str:
    holder = case.held_by(now)
    mark = "!" * min(case.severity, 3)
    if holder is not None:
        return f"{case.state}{mark}:{visible(holder)}"
    return f"{case.state}{mark}:snoozed" if case.asleep(now) else f"{case.state}{mark}"


def columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Plain columns, for pipes and files; wide signs (Korean) take two places."""
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(map(padded, row, widths)).rstrip()


def describe(
    case: Case, audit: Iterable[AuditRow], comments: Iterable[Comment] = ()
) -> Iterator[str]:
    """Everything that is known of a case, line by line."""
    yield from _facts(case)
    yield from _section("history", _history(case))
    yield from _section("traceback", visible_lines(case.traceback) if case.traceback else ())
    yield from _section(
        f"payload (sha256 {case.payload_hash})", visible_lines(pretty(case.payload))
    )
    yield from _section("comments", [line for one in comments for line in _comment(one)])
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
        "held until": moment(case.lease_until),
        "snoozed": moment(case.snoozed_until),
        "deadline": f"{moment(case.deadline)}, then {case.deadline_do}" if case.deadline else "",
        "severity": str(case.severity) if case.severity else "",
        "failures": f"{case.failures}, the last {moment(case.seen)}",
        "group": case.fingerprint,
        "hidden": ", ".join(case.hidden),
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


def _comment(comment: Comment) -> Iterator[str]:
    yield f"{moment(comment.at)}  {visible(comment.who)}"
    yield from (f"    {line}" for line in visible_lines(comment.text))


def _audit(row: AuditRow) -> Iterator[str]:
    first, *more = visible_lines(row.detail)
    who = visible(f"{row.who} by {row.via}" if row.via else row.who)
    yield f"{moment(row.at)}  v{row.version}  {who}  {row.action}  {first}".rstrip()
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


def people_rows(options: DeskOptions) -> Iterator[tuple[str, ...]]:
    """Who may do what, one person a row; the rest last."""
    for person in options.people.values():
        limits = (", ".join(names) or "all" for names in (person.queues, person.jobs))
        yield (visible(person.name), person.role, *map(visible, limits))
    yield ("(others)", options.others, "all", "all")


def as_bulk(bulk: Bulk, now: float) -> tuple[str, ...]:
    """One bulk action as the columns of a list."""
    age = _age(now - bulk.created)
    return (bulk.id, bulk.state, bulk.action, str(bulk.total), visible(bulk.who), age)


def as_bulk_item(item: BulkItem) -> tuple[str, ...]:
    """One case of a bulk action as the columns of a list."""
    return (str(item.place), item.case_id, item.fate, visible(item.outcome)[:200])


def bulk_line(bulk: Bulk) -> str:
    """How far a bulk action is, on one line."""
    counts = ", ".join(f"{number} {fate}" for fate, number in sorted(bulk.counts.items()))
    why = f" ({visible(bulk.why)})" if bulk.why else ""
    return f"bulk {bulk.id}: {bulk.action} of {bulk.total}, {bulk.state}{why}: {counts}".rstrip(
        ": "
    )


def _age(seconds: float) -> str:
    whole = max(0, int(seconds))
    for size in (86400, 3600, 60):
        if whole >= size:
            whole -= whole % size
            break
    return format_duration(timedelta(seconds=whole))
