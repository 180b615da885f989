"""The ledger: what was sent must be what ended, and the world outside must agree. All pure.

A demo that cannot fail proves nothing: each of these sums has a test that makes it fail.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

# The states in which a job rests: nothing more happens to it by itself.
RESTING = (
    "succeeded",
    "ignored",
    "in-review",
    "resolved",
    "quarantined",
    "failed",
    "cancelled",
    "expired",
)


@dataclass(frozen=True, slots=True)
class Balance:
    """The conservation of jobs: every id that was sent, by the state in which it rests."""

    sent: int
    resting: Mapping[str, int]
    unfinished: tuple[str, ...]
    lost: tuple[str, ...]
    unexpected: tuple[str, ...]
    sent_twice: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether sent = done + ignored + in review + ..., each id once and none unknown."""
        faults = self.unfinished or self.lost or self.unexpected or self.sent_twice
        return not faults and self.sent == sum(self.resting.values())


def balance(sent: Iterable[str], states: Mapping[str, str]) -> Balance:
    """Set the ids that were sent against the states that the store knows.

    ``states`` maps a job id to its state (``unknown`` counts as not there). An id without a state
    is lost; a state without a sent id is unexpected; both, and an id that was sent twice, make the
    balance fail.
    """
    counts = Counter(sent)
    known = {job_id: state for job_id, state in states.items() if state != "unknown"}
    resting = Counter(known[i] for i in counts if known.get(i) in RESTING)
    return Balance(
        sent=counts.total(),
        resting={state: resting[state] for state in RESTING if resting[state]},
        unfinished=tuple(i for i in counts if i in known and known[i] not in RESTING),
        lost=tuple(i for i in counts if i not in known),
        unexpected=tuple(i for i in known if i not in counts),
        sent_twice=tuple(i for i, count in counts.items() if count > 1),
    )


@dataclass(frozen=True, slots=True)
class Outside:
    """What the world outside saw of one kind of job, against what the store says was done.

    ``repeated`` counts effects seen more than once: allowed after a kill -9 where the effect
    cannot be undone (a job may run more than once), and always shown.
    """

    what: str
    done: int
    seen: int
    missing: tuple[int, ...]
    unexplained: tuple[int, ...]
    repeated: tuple[int, ...]
    in_order: bool | None = None  # None: not asked for

    @property
    def holds(self) -> bool:
        """Whether each done job left its trace outside, nothing else did, and order was kept."""
        return self.in_order is not False and not self.missing and not self.unexplained


def outside(
    what: str,
    done: Collection[int],
    seen: Sequence[int],
    open_: Collection[int],
    *,
    ordered: bool = False,
) -> Outside:
    """Compare order numbers: those done by the store's word with those seen outside.

    ``open_`` are orders whose job did not succeed but may have left its trace before it failed
    (it rests on the desk, say): their traces are explained, and not demanded. ``ordered``: the
    first trace of each must come in the order of the numbers.
    """
    counts = Counter(seen)
    return Outside(
        what=what,
        done=len(done),
        seen=len(seen),
        missing=tuple(sorted(set(done) - counts.keys())),
        unexplained=tuple(sorted(counts.keys() - set(done) - set(open_))),
        repeated=tuple(sorted(number for number, count in counts.items() if count > 1)),
        # A counter keeps the order of first mention.
        in_order=list(counts) == sorted(counts) if ordered else None,
    )


@dataclass(frozen=True, slots=True)
class Left:
    """What the broker still holds of a queue by its exact count, against what it should."""

    queue: str
    expected: int
    held: int

    @property
    def holds(self) -> bool:
        """Whether the broker holds exactly what it should."""
        return self.held == self.expected


@dataclass(frozen=True, slots=True)
class Ledger:
    """All that is added up at the end; the demo exits with 0 only when it holds."""

    jobs: Mapping[str, Balance]
    world: Sequence[Outside]
    broker: Sequence[Left]

    @property
    def holds(self) -> bool:
        """Whether every sum holds; an empty ledger does not."""
        broken = (
            *(one for one in self.jobs.values() if not one.holds),
            *(one for one in self.world if not one.holds),
            *(one for one in self.broker if not one.holds),
        )
        return bool(self.jobs) and not broken
