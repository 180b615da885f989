"""Plays rows of the matrix and prints the account of each."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from rabbitjobs.broker.cluster import Cluster
from rabbitjobs.broker.node import Node
from rabbitjobs.errors import RabbitJobsError
from tests.faults.ledger import Balance, balance
from tests.faults.row import Row
from tests.faults.stage import Failed, Stage, stage

REFERENCE = "4.3"


@dataclass(frozen=True)
class Place:
    """On what a row is played."""

    version: str
    wire: str

    def __str__(self) -> str:
        return f"{self.version} {self.wire}"


@dataclass(frozen=True)
class Account:
    """What came of one row."""

    row: Row
    place: Place
    injected: int
    balance: Balance
    recovered: float | None
    seconds: float
    faults: Sequence[str]

    @property
    def holds(self) -> bool:
        """Whether the row holds."""
        return not self.faults


HEAD = (
    f"{'row':<42}{'on':<15}{'injected':>9}{'confirmed':>10}{'done':>7}{'review':>7}{'ignored':>8}"
    f"{'quarantined':>12}{'lost':>6}{'dup.outcomes':>13}{'dup.runs':>9}{'longest publish':>16}"
    f"{'recovered in':>13}{'took':>7}"
)


def line(account: Account) -> str:
    """One line of the table, and a line for each thing that does not hold."""
    found = account.balance
    recovered = "-" if account.recovered is None else f"{account.recovered:.2f} s"
    text = (
        f"{account.row.name:<42}{account.place!s:<15}{account.injected:>9}{found.confirmed:>10}"
        f"{found.done:>7}{found.in_review:>7}{found.ignored:>8}{found.quarantined:>12}"
        f"{len(found.lost):>6}{found.duplicate_outcomes:>13}{found.duplicate_runs:>9}"
        f"{found.longest_publish:>14.2f} s{recovered:>13}{account.seconds:>5.0f} s"
    )
    return "\n".join([text, *(f"    DOES NOT HOLD: {fault}" for fault in account.faults)])


def total(accounts: Sequence[Account]) -> str:
    """The last line."""
    found = [one.balance for one in accounts]
    broken = sum(not one.holds for one in accounts)
    return (
        f"{len(accounts)} rows, {sum(one.injected for one in accounts)} faults, "
        f"{sum(one.confirmed for one in found)} jobs confirmed: "
        f"lost {sum(len(one.lost) for one in found)}, "
        f"duplicate outcomes {sum(one.duplicate_outcomes for one in found)}, "
        f"duplicate runs {sum(one.duplicate_runs for one in found)}, "
        f"longest publish {max((one.longest_publish for one in found), default=0):.1f} s; "
        f"{'every row holds' if not broken else f'{broken} ROWS DO NOT HOLD'}"
    )


class Theatre:
    """Nodes that rows share, each started when it is first needed."""

    def __init__(self, keep: Path | None = None) -> None:
        self._nodes: dict[str, Node] = {}
        self._clusters: dict[str, Cluster] = {}
        self._opened = ExitStack()
        self._keep = keep

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def play(self, row: Row, place: Place, seed: int) -> Account:
        """Play one row; never raises for what the row does not hold."""
        folder = Path(tempfile.mkdtemp(prefix=f"faults-{row.name}-"))
        began = time.monotonic()
        made: Stage | None = None
        faults: list[str] = []
        found = balance(())
        try:
            with self._stage(row, place, seed, folder) as made:
                began = time.monotonic()
                row.play(made)
                found = made.settle()
                faults += found.faults(
                    most_duplicates=made.most_duplicates,
                    most_reruns=made.most_reruns,
                    rerun_seconds=made.rerun_seconds,
                )
        except (Failed, RabbitJobsError, subprocess.TimeoutExpired) as error:
            faults.append(str(error))
            (folder / "traceback").write_text("".join(traceback.format_exception(error)))
            found = balance(made.lines()) if made else found
        seconds = time.monotonic() - began
        if seconds > row.most_seconds:
            faults.append(f"expected an end within {row.most_seconds:g} s, got {seconds:.0f} s")
        recovered = made.recovered() if made else None
        self._clear(folder, row, place, faults)
        return Account(
            row, place, made.injected if made else 0, found, recovered, seconds, tuple(faults)
        )

    def _clear(self, folder: Path, row: Row, place: Place, faults: Sequence[str]) -> None:
        if faults and self._keep:
            shutil.copytree(folder, self._keep / f"{row.name}-{place}", dirs_exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def _stage(self, row: Row, place: Place, seed: int, folder: Path) -> Iterator[Stage]:
        with ExitStack() as own:
            cluster = self._cluster(place) if row.place == "cluster" else None
            node = cluster.nodes[0] if cluster else self._node(row, place, own)
            yield own.enter_context(
                stage(
                    node,
                    folder,
                    cluster=cluster,
                    wire=place.wire,
                    seed=seed,
                    topology=row.topology,
                )
            )

    def _cluster(self, place: Place) -> Cluster:
        if place.version not in self._clusters:
            made = Cluster(version=place.version)
            self._clusters[place.version] = self._opened.enter_context(made)
        return self._clusters[place.version].start()

    def _node(self, row: Row, place: Place, own: ExitStack) -> Node:
        if row.settings:
            return own.enter_context(Node(version=place.version, settings=row.settings))
        if place.version not in self._nodes:
            node = Node(version=place.version)
            self._nodes[place.version] = self._opened.enter_context(node)
        return self._nodes[place.version].start()


def schedule(
    rows: Iterable[Row], brokers: Sequence[str], wires: Sequence[str], *, named: bool = False
) -> list[tuple[Row, Place]]:
    """Every row on the reference, and those that touch wire or version everywhere else too.

    Further versions are played over pika, the other wire on the reference. Rows that somebody
    ``named`` are played on the first place, whatever it is.
    """
    listed = list(rows)
    usual = Place(REFERENCE, "pika")
    places = [Place(version, wire) for version in brokers for wire in wires]
    chosen = [one for one in places if one.version == REFERENCE or one.wire == "pika"] or places
    return [
        (row, place)
        for place in chosen
        for row in listed
        if place == usual or row.everywhere or (named and place == chosen[0])
    ]
