"""What processes cost, from /proc: CPU seconds and resident memory of a whole tree."""

from __future__ import annotations

import os
import platform
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pid: int) -> float:
    """CPU time of a process, its living descendants, and those it has waited for."""
    total = 0.0
    for one in tree(pid):
        fields = _stat(one)
        if fields:
            total += sum(int(fields[place]) for place in (11, 12, 13, 14)) / _TICK
    return total


def resident_megabytes(pid: int) -> float:
    """Resident memory of a process and its descendants, in MB."""
    return sum(int(fields[21]) * _PAGE / 1e6 for one in tree(pid) if (fields := _stat(one)))


def tree(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found.extend(int(child) for child in task.read_text().split())
            except OSError:  # it has ended
                continue
    return found


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def describe() -> str:
    """The machine in a line."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return f"{os.cpu_count()} x {model}, {platform.system()}, Python {platform.python_version()}"
