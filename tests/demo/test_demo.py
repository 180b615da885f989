"""The demo itself, in a smaller size: it balances, and clears its stage away when it is stopped."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.demo.starting import start

pytestmark = pytest.mark.timeout(480)


def _workers(folder: Path) -> Iterator[int]:
    """The pids of all worker processes that ever started."""
    for line in (folder / "workers.log").read_text().splitlines():
        told = json.loads(line)
        if told["event"] == "worker started":
            yield int(told["worker"].rpartition(":")[2])


def _lives(pid: int, folder: Path) -> bool:
    """Whether it is a process of the demo that had this folder: pids are given again."""
    try:
        return os.fsencode(folder) in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # it has ended, or is somebody else's
        return False


def test_the_demo_balances_and_leaves_nothing_running(tmp_path: Path) -> None:
    """Orders with a case of each kind that the desk handles: exit 0, lost 0, no process left."""
    with start(tmp_path, "--orders", "460") as demo:
        told, _ = demo.communicate()
    assert demo.returncode == 0, told
    assert told.count("kill -9") == 4, told
    assert "sold by hand" in told
    assert "The ledger balances." in told
    workers = list(_workers(tmp_path))
    assert len(workers) >= 7 + 3
    assert not [pid for pid in workers if _lives(pid, tmp_path)]


@pytest.mark.parametrize(
    ("number", "when"),
    [(signal.SIGINT, "order [1-9][0-9]* done"), (signal.SIGTERM, "orders sent, each confirmed")],
)
def test_an_interrupted_demo_clears_its_stage_away(
    tmp_path: Path, number: signal.Signals, when: str
) -> None:
    """Ctrl-C in the middle of the work, or before it began: every process of it is ended."""
    with start(tmp_path) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if re.search(when, line):
                break
        demo.send_signal(number)
        told = demo.stdout.read()
    assert demo.returncode == 130, told
    workers = list(_workers(tmp_path))
    assert workers or number is signal.SIGTERM
    assert not [pid for pid in workers if _lives(pid, tmp_path)]
