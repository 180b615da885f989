"""A wall clock that jumps: the fault of a wrong time service, put into one process."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


def follow(path: str | None) -> None:
    """From now on this process's wall clock is off by the seconds that stand in the file.

    The monotonic clock is not touched, as the kernel does not touch it either.
    """
    if path is None:
        return
    file, real = Path(path), time.time

    def jumping() -> float:
        return real() + float(file.read_text(encoding="ascii"))

    replacement: Callable[[], float] = jumping
    time.time = replacement
    time.time_ns = lambda: int(jumping() * 1e9)
