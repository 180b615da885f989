"""``python -m tests.faults.soak``: constant load under random faults, and meters that stay flat.

A worker, an intake and two publishers live through all of it and are judged (``meters.py``); a
second worker and publisher are killed and stopped with the rest of the composite row's faults.
Exit 0 only if the ledger holds (lost 0) and every meter is flat. It reads /proc: Linux only.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rabbitjobs.errors import NodeError
from tests.faults.meters import Reading, Verdict, judge, of_process
from tests.faults.process import Process
from tests.faults.row import Row
from tests.faults.rows_cluster import cluster
from tests.faults.rows_composite import PUBLISHING, Storm, behind_proxies
from tests.faults.run import HEAD, Place, Theatre, line
from tests.faults.stage import Stage

# Every seventh job ends on the desk: a few, because each stays in the store as an open case.
MIX = ("--mix", "mark,grind,mark,flaky,mark,mark,ask")
# All publishers together have as many sends in flight as the bounds of a fault allow.
LOAD = (*MIX, "--deadline", "4", "--rate", "25", "--senders", "5")
VICTIM = (*PUBLISHING, *MIX, "--deadline", "4", "--rate", "15", "--senders", "4")
# The window of ignored jobs is checked id by id, which is for hundreds of them.
IGNORED = 300
EVERY = 5.0
TOLD_EVERY = 30.0
PAUSE = (2.0, 12.0)
COUNTS = "{length(rabbit_networking:local_connections()), length(rabbit_channel:list_local())}."


@dataclass
class Meters:
    """Reads the meters on threads of its own, and tells them from time to time."""

    stage: Stage
    steady: Mapping[str, Process]
    began: float = field(default_factory=time.monotonic)
    readings: list[Reading] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Read until the end of the block."""
        over = threading.Event()
        acts = ((EVERY, self._processes), (2 * EVERY, self._broker), (TOLD_EVERY, self._tell))
        threads = [threading.Thread(target=_repeat, args=(over, *one)) for one in acts]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()

    def _processes(self) -> None:
        for who, process in self.steady.items():
            self._add(who, of_process(process.popen.pid))

    def _broker(self) -> None:
        """Of all nodes, or of none: a node that is away says nothing about the others."""
        totals = {"connections": 0, "channels": 0}
        for node in cluster(self.stage).nodes:
            try:
                found = [int(one) for one in re.findall(r"\d+", node.ask(COUNTS))]
            except (NodeError, subprocess.TimeoutExpired):
                return
            for meter, value in zip(totals, found, strict=True):
                totals[meter] += value
        self._add("broker", totals)

    def _add(self, who: str, values: Mapping[str, float]) -> None:
        at = time.monotonic() - self.began
        self.readings += [Reading(at, who, meter, value) for meter, value in values.items()]

    def _tell(self) -> None:
        latest: defaultdict[str, dict[str, float]] = defaultdict(dict)
        for one in tuple(self.readings):
            latest[one.who][one.meter] = one.value
        for who, values in latest.items():
            told = "".join(f"  {meter} {value:6.1f}" for meter, value in values.items())
            print(f"{time.monotonic() - self.began:6.0f} s  {who:<10}{told}", flush=True)


def _repeat(over: threading.Event, pause: float, act: Callable[[], None]) -> None:
    while not over.wait(pause):
        act()


@dataclass
class Soak:
    """The play: everybody starts, faults strike until the time is over; meters run meanwhile."""

    seconds: float
    verdicts: list[Verdict] = field(default_factory=list)

    def __call__(self, stage: Stage) -> None:
        """Play it on a cluster."""
        proxies, url = behind_proxies(stage)
        intake = stage.start("intake", "-m", "rabbitjobs", "intake", RABBITJOBS_URL=url)
        worker, victim = stage.workers(2, RABBITJOBS_URL=url)
        rare = ("--mix", "skip", "--senders", "1", "--count", f"{IGNORED}")
        steady = {
            "worker": worker,
            "intake": intake,
            "publisher": stage.publish(*LOAD, RABBITJOBS_URL=url),
            "rare": stage.publish(*rare, "--rate", f"{IGNORED / self.seconds}", RABBITJOBS_URL=url),
        }
        publisher = stage.start("publisher", *VICTIM, "--name", "victim", RABBITJOBS_URL=url)
        stage.publishers.append(publisher)
        stage.flows(30)
        chance = random.Random(stage.seed)
        storm = Storm(
            stage, chance, proxies, url, [victim], publisher, (*VICTIM, "--name", "victim")
        )
        meters = Meters(stage, steady)
        end = time.monotonic() + self.seconds
        try:
            with meters.running():
                while time.monotonic() < end:
                    storm.strike()
                    print(f"{time.monotonic() - meters.began:6.0f} s  {storm.told[-1]}", flush=True)
                    time.sleep(chance.uniform(*PAUSE))
        finally:
            self.verdicts = judge(meters.readings)
        print("adding up", flush=True)


def main() -> int:
    """Read the command line and play."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=None, help="repeats the order of faults")
    parser.add_argument("--broker", default="4.3")
    parser.add_argument("--wire", default="pika")
    parser.add_argument(
        "--keep", type=Path, help="keep the folder of a run that does not hold here"
    )
    options = parser.parse_args()
    seed = random.randrange(10**6) if options.seed is None else options.seed
    print(f"SEED={seed}, {options.minutes:g} minutes", flush=True)
    soak = Soak(60 * options.minutes)
    row = Row("soak", soak, place="cluster", most_seconds=2 * soak.seconds + 600)
    with Theatre(options.keep) as theatre:
        account = theatre.play(row, Place(options.broker, options.wire), seed)
    flat = all(one.flat for one in soak.verdicts)
    print(*soak.verdicts, HEAD, line(account), sep="\n")
    if not {"worker", "publisher", "broker"} <= {one.who for one in soak.verdicts}:
        print("expected a verdict of worker, publisher and broker; a longer run has them")
        return 1
    held = flat and account.holds
    print("soak: the ledger holds and every meter is flat" if held else "soak: DOES NOT HOLD")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
