"""``python -m tests.faults``: the fault matrix; exit 0 only if every row holds."""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

from tests.faults.matrix import MATRIX
from tests.faults.run import HEAD, Theatre, line, schedule, total


def main() -> int:
    """Play the rows that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("rows", nargs="*", help="names of rows; all without any")
    parser.add_argument("--seed", type=int, default=None, help="repeats a random schedule")
    parser.add_argument("--brokers", nargs="*", default=["4.3", "4.0", "3.10"])
    parser.add_argument("--wires", nargs="*", default=["pika", "aio-pika"])
    parser.add_argument("--keep", type=Path, help="keep the folders of rows that do not hold here")
    options = parser.parse_args()
    unknown = [name for name in options.rows if name not in MATRIX]
    if unknown:
        parser.error(f"expected rows of {', '.join(MATRIX)}, got {', '.join(unknown)}")
    seed = random.randrange(10**6) if options.seed is None else options.seed
    rows = [MATRIX[name] for name in options.rows] or list(MATRIX.values())
    print(f"SEED={seed}\n{HEAD}", flush=True)
    accounts = []
    with Theatre(options.keep) as theatre:
        for row, place in schedule(rows, options.brokers, options.wires, named=bool(options.rows)):
            accounts.append(theatre.play(row, place, seed))
            print(line(accounts[-1]), flush=True)
    print(total(accounts))
    return 0 if all(one.holds for one in accounts) else 1


if __name__ == "__main__":
    sys.exit(main())
