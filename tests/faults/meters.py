"""Meters of a long run: what processes and broker hold, read again and again, and the verdict.

The rule, for each meter: the median of the last quarter of the run is at most ``Slack`` above the
median of the second quarter. The first quarter is left out, because caches and pools fill then.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

# Below so many readings a quarter is too short to have a median that means anything.
FEWEST = 12


class Slack(NamedTuple):
    """How much a meter may be above its level and count as flat: a share, and an amount."""

    share: float
    amount: float


MOST: Final[Mapping[str, Slack]] = {
    "memory": Slack(0.05, 3.0),
    "files": Slack(0.0, 3),
    "threads": Slack(0.0, 2),
    "channels": Slack(0.0, 3),
    "connections": Slack(0.0, 3),
}
"""Memory is in MiB: what is resident and our own, without the pages of files."""


class Reading(NamedTuple):
    """One value of one meter of ``who``, at so many seconds of the run."""

    at: float
    who: str
    meter: str
    value: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one meter: the two medians, and the level that the second may reach."""

    who: str
    meter: str
    early: float
    late: float
    most: float

    @property
    def flat(self) -> bool:
        """Whether it holds."""
        return self.late <= self.most

    def __str__(self) -> str:
        word = "flat" if self.flat else "GROWING"
        return (
            f"{self.who:<12}{self.meter:<12}{self.early:>8.1f} -> {self.late:>8.1f}"
            f"   at most {self.most:>6.1f}   {word}"
        )


def judge(readings: Iterable[Reading]) -> list[Verdict]:
    """The verdict of every meter that was read ``FEWEST`` times or more."""
    series: defaultdict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for one in readings:
        series[one.who, one.meter].append((one.at, one.value))
    return [
        _verdict(who, meter, [value for _, value in sorted(points)])
        for (who, meter), points in series.items()
        if len(points) >= FEWEST
    ]


def _verdict(who: str, meter: str, values: Sequence[float]) -> Verdict:
    quarter = len(values) // 4
    early = statistics.median(values[quarter : 2 * quarter])
    late = statistics.median(values[-quarter:])
    slack = MOST[meter]
    return Verdict(who, meter, early, late, early * (1 + slack.share) + slack.amount)


def of_process(pid: int) -> dict[str, float]:
    """Memory, open files and threads of a process, by Linux's /proc; empty when it has ended."""
    folder = Path("/proc") / str(pid)
    try:
        status = (folder / "status").read_text(encoding="ascii", errors="replace")
        files = sum(1 for _ in (folder / "fd").iterdir())
    except OSError:
        return {}
    fields = dict(line.split(":", 1) for line in status.splitlines())
    if "RssAnon" not in fields:  # it has ended, nobody has waited for it yet
        return {}
    memory = int(fields["RssAnon"].split()[0]) / 1024
    return {"memory": memory, "files": files, "threads": int(fields["Threads"])}
