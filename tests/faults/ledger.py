"""The ledger of a fault run: what every process appended, and the check that nothing was lost.

The check is that of Jepsen's total-queue: what was confirmed must have ended, what ended must have
been attempted, and nothing ended in two ways. All of it is pure but for the pen.

A line reads ``kind time token job-id words``, with "-" for what its writer does not know:

| kind | who writes it, and when |
|---|---|
| A, C | a publisher: about to send, confirmed (with the seconds since the first attempt) |
| S, E | the job's own code: begins (with the attempt), has had its effect |
| D V I Q X | a worker, when the ending is durable: done, in review, ignored, quarantined, \
cancelled or expired (with the attempt) |
| R | whoever decides: the job's case is to be released, written once before the first try |
| d v i q x | the same, as store and queues say it in the end, by the public API |

A released job's stay in review (V) is no ending, but for the attempt that rested: what comes after
it must end, too, and no more attempts may begin than were released.
"""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Final, NamedTuple

ENDINGS: Final[Mapping[str, str]] = {
    "succeeded": "D",
    "in-review": "V",
    "resolved": "V",
    "ignored": "I",
    "quarantined": "Q",
    "cancelled": "X",
    "expired": "X",
    "failed": "X",
}
"""The kind of line for each state in which a job rests."""


class Line(NamedTuple):
    """One line. ``at`` is the machine's monotonic clock, which all its processes share."""

    kind: str
    at: float
    token: str
    job_id: str = "-"
    words: str = "-"


class Pen:
    """Appends lines to a ledger; each is written whole (O_APPEND), from any process and thread."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, kind: str, token: str, job_id: str = "-", words: object = "-") -> None:
        """Append one line."""
        line = f"{kind} {time.monotonic():.6f} {token} {job_id} {words}\n"
        os.write(self._file, line.encode())


def read(path: Path, start: int = 0) -> list[Line]:
    """Every whole line of a ledger from this byte on, in the order in which they were appended.

    A line that goes over the end of a page is seen half for a moment: by a reader at the end, and
    by who asked for the size and starts there.
    """
    if not path.exists():
        return []
    with path.open("rb") as ledger:
        ledger.seek(max(0, start - 1))
        text = ledger.read()
    if start:
        text = text[text.find(b"\n") + 1 :]
    whole = text[: text.rfind(b"\n") + 1].decode()
    found = (line.split(" ", 4) for line in whole.splitlines())
    lines = [Line(kind, float(at), token, job, words) for kind, at, token, job, words in found]
    return _named(lines)


def _named(lines: list[Line]) -> list[Line]:
    """The lines with their tokens: a worker's ending knows the job id only."""
    tokens = {line.job_id: line.token for line in lines if line.token != "-"}
    return [
        line if line.token != "-" else line._replace(token=tokens.get(line.job_id, line.job_id))
        for line in lines
    ]


@dataclass(frozen=True, slots=True)
class Balance:
    """The check of one ledger; ``faults`` says in words what does not hold.

    ``duplicate_runs`` counts starts of an attempt beyond its first; ``reruns`` are
    those of them that came after that attempt's durable ending, as seconds after it, in order.
    ``released_again`` began more attempts after a case than were released from it.
    ``longest_publish`` is in seconds.
    """

    attempted: int
    confirmed: int
    done: int
    in_review: int
    ignored: int
    quarantined: int
    cancelled: int
    lost: tuple[str, ...]
    unexpected: tuple[str, ...]
    two_endings: tuple[str, ...]
    unrecorded: tuple[str, ...]
    without_effect: tuple[str, ...]
    released_again: tuple[str, ...]
    duplicate_outcomes: int
    duplicate_runs: int
    reruns: tuple[float, ...]
    longest_publish: float

    def faults(
        self, *, most_duplicates: int, most_reruns: int = 0, rerun_seconds: float = inf
    ) -> list[str]:
        """What is wrong, in words; the bounds are those of duplicate runs, of reruns, and of the
        time from an ending to its rerun."""
        sets = {
            "lost": self.lost,
            "unexpected": self.unexpected,
            "with two endings": self.two_endings,
            "ended, but not recorded": self.unrecorded,
            "done without an effect": self.without_effect,
            "begun more often than released": self.released_again,
        }
        found = [f"{len(ids)} {what}: {_some(ids)}" for what, ids in sets.items() if ids]
        if not self.confirmed:
            found.append("nothing was confirmed: a run without load proves nothing")
        if self.duplicate_outcomes:
            found.append(f"{self.duplicate_outcomes} outcomes were recorded a second time")
        if len(self.reruns) > most_reruns or max(self.reruns, default=0.0) > rerun_seconds:
            after = ", ".join(f"{gap:.3f}" for gap in self.reruns)
            found.append(
                f"{len(self.reruns)} attempts began again after their recorded ending, by {after} s"
            )
        if self.duplicate_runs > most_duplicates:
            found.append(
                f"expected at most {most_duplicates} duplicate runs, got {self.duplicate_runs}"
            )
        return found


def balance(lines: Iterable[Line]) -> Balance:
    """Add a ledger up."""
    by_kind: defaultdict[str, list[Line]] = defaultdict(list)
    for line in lines:
        by_kind[line.kind].append(line)
    attempted, confirmed, released = (_tokens(by_kind[kind]) for kind in "ACR")
    endings = [line for kind in "DVIQX" for line in by_kind[kind]]
    rests = [line for line in endings if line.kind == "V" and line.token in released]
    ends = [line for line in endings if line.kind != "V" or line.token not in released]
    records = [line for kind in "dviqx" for line in by_kind[kind]]
    told: defaultdict[str, set[str]] = defaultdict(set)
    for line in (*ends, *records):
        told[line.token].add(line.kind.upper())
    heard = Counter(line.token for line in ends)
    rested = Counter((line.token, line.words) for line in rests)
    recorded = Counter(line.token for line in records)
    states = Counter(kind for kinds in told.values() for kind in kinds)
    return Balance(
        attempted=len(attempted),
        confirmed=len(confirmed),
        done=states["D"],
        in_review=states["V"],
        ignored=states["I"],
        quarantined=states["Q"],
        cancelled=states["X"],
        lost=tuple(sorted(confirmed - told.keys())),
        unexpected=tuple(sorted(told.keys() - attempted)),
        two_endings=tuple(sorted(token for token, kinds in told.items() if len(kinds) > 1)),
        unrecorded=tuple(sorted(heard.keys() - recorded.keys())),
        without_effect=tuple(
            sorted({token for token, kinds in told.items() if "D" in kinds} - _tokens(by_kind["E"]))
        ),
        released_again=_released_again(by_kind["S"], by_kind["R"]),
        duplicate_outcomes=sum(
            count - 1 for counts in (heard, rested, recorded) for count in counts.values()
        ),
        duplicate_runs=_duplicate_runs(by_kind["S"]),
        reruns=_reruns(by_kind["S"], ends, rests),
        longest_publish=max((float(line.words) for line in by_kind["C"]), default=0.0),
    )


def recovery(lines: Iterable[Line], healed: float) -> float | None:
    """Seconds from ``healed`` until a job that was sent after it has run; ``None`` if none has."""
    sent: set[str] = set()
    for line in lines:
        if line.kind == "A" and line.at >= healed:
            sent.add(line.token)
        if line.kind == "E" and line.token in sent:
            return line.at - healed
    return None


def _tokens(lines: Iterable[Line]) -> set[str]:
    return {line.token for line in lines}


def _duplicate_runs(starts: Iterable[Line]) -> int:
    runs = Counter((line.token, line.words) for line in starts)
    return sum(count - 1 for count in runs.values())


def _released_again(starts: Iterable[Line], releases: Iterable[Line]) -> tuple[str, ...]:
    """Jobs of the desk that began more attempts than their first, and one for each release.

    They are jobs without retries of their own.
    """
    most = Counter(line.token for line in releases)
    begun = {(line.token, line.words) for line in starts if line.token in most}
    attempts = Counter(token for token, _attempt in begun)
    return tuple(sorted(token for token in attempts if attempts[token] > 1 + most[token]))


def _reruns(
    starts: Iterable[Line], endings: Iterable[Line], rests: Iterable[Line]
) -> tuple[float, ...]:
    """Starts after the durable ending of the same attempt, as its worker told it.

    An attempt that rested on the desk is followed by others; the job's end by none.
    """
    ended: dict[str, float] = {}
    for line in endings:
        ended[line.token] = min(line.at, ended.get(line.token, inf))
    rested: dict[tuple[str, str], float] = {}
    for line in rests:
        key = (line.token, line.words)
        rested[key] = min(line.at, rested.get(key, inf))
    gaps = (
        line.at - min(ended.get(line.token, inf), rested.get((line.token, line.words), inf))
        for line in starts
    )
    return tuple(sorted(gap for gap in gaps if gap > 0))


def _some(ids: tuple[str, ...]) -> str:
    return ", ".join(ids[:5]) + (", …" if len(ids) > 5 else "")
