"""``python -m benchmarks [--quick] [--rounds N] [--only TEXT]``: the contest and its table."""

from __future__ import annotations

import argparse
import sys
import time

from benchmarks import machine, rows, table
from benchmarks.bars import Figure
from benchmarks.plan import Round
from benchmarks.stores import stores
from rabbitjobs.broker.node import Node


def main() -> int:
    """Run it; the exit code is 0 when every row could be measured, whatever the verdicts."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less work, and not the longest rows")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="rows whose label contains this text")
    given = parser.parse_args()
    size = rows.QUICK if given.quick else rows.FULL
    figures: list[Figure] = []
    started = time.monotonic()
    with stores() as databases, Node(version="4.3") as node:
        print(f"{machine.describe()}; RabbitMQ {node.version}")
        for number in range(1, given.rounds + 1):
            for label, measure in Round(node, databases, size, given.quick).plan():
                if given.only in label:
                    before = time.monotonic()
                    found = list(measure())
                    figures += found
                    seconds = time.monotonic() - before
                    print(f"{number} {table.line(found)} (took {seconds:.1f} s)", flush=True)
    print(f"{time.monotonic() - started:.0f} s in all")
    table.show(figures, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
