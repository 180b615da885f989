"""One process of a stage's app, and waiting for what it does."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

# For what must happen and may take its time on a busy machine.
PATIENCE = 50.0


class Failed(AssertionError):
    """A row does not hold."""


def until(
    condition: Callable[[], object],
    what: str,
    *,
    patience: float = PATIENCE,
    pause: float = 0.05,
    why: Callable[[], object] = lambda: "",
) -> None:
    """Return once ``condition`` holds; raises ``Failed`` when it does not in time."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"expected {what} within {patience:g} s; {why()}")
        time.sleep(pause)


@dataclass
class Process:
    """One process of the app."""

    popen: subprocess.Popen[bytes]
    path: Path

    @property
    def log(self) -> str:
        """What it has said so far."""
        return self.path.read_text(encoding="utf-8", errors="replace")

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.popen.poll() is None

    def says(self, text: str, times: int = 1) -> Self:
        """Wait until it has said this so often; raises ``Failed`` if it ends before."""

        def said() -> bool:
            found = self.log.count(text) >= times
            if not found and not self.alive:
                raise Failed(f"expected {text!r} of {self.path.stem}, got its end: {self.tail}")
            return found

        until(said, f"{self.path.stem} to say {text!r}", why=lambda: self.tail)
        return self

    @property
    def tail(self) -> str:
        """The end of what it said."""
        return self.log[-1500:]

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.popen.send_signal(number)

    def ends(self, code: int | None = 0) -> None:
        """Wait for its end, with this exit code (``None``: any)."""
        try:
            got = self.popen.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failed(f"expected {self.path.stem} to end, it goes on: {self.tail}") from None
        if code is not None and got != code:
            raise Failed(f"expected exit {code} of {self.path.stem}, got {got}: {self.tail}")

    def kill(self) -> None:
        """kill -9, and wait for its end."""
        self.popen.kill()
        self.popen.wait()
