"""The demo's own processes: started, watched and ended by their own pid, whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).parents[2]
GRACE = 15.0


class Processes:
    """A set of child processes; leaving the ``with`` block ends every one that still runs.

    Each runs in a session of its own, so that Ctrl-C reaches the demo alone, which then ends its
    children in order. Their output goes to files in ``logs``.
    """

    def __init__(self, environment: Mapping[str, str], logs: Path) -> None:
        self.environment = dict(environment)
        self.logs = logs
        self._running: dict[str, subprocess.Popen[str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop_all()

    def start(self, name: str, *module_and_arguments: str) -> subprocess.Popen[str]:
        """Start ``python -m module arguments`` under a name; its log is ``<name>.log``."""
        with (self.logs / f"{name}.log").open("a") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", *module_and_arguments],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if "server" in name else log,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self._running[name] = child
        return child

    def start_server(self, name: str, *module_and_arguments: str) -> int:
        """Start a server that prints ``ready PORT`` once it listens; returns the port.

        Raises ``RuntimeError`` if it ends before that.
        """
        child = self.start(name, *module_and_arguments)
        assert child.stdout is not None
        word, _, port = child.stdout.readline().partition(" ")
        if word != "ready":
            raise RuntimeError(f"expected {name} to come up, got {word!r}; see {self.logs}")
        return int(port)

    def kill(self, name: str) -> int:
        """Kill -9 one process, as a machine would; returns its pid."""
        child = self._running.pop(name)
        child.kill()
        child.wait()
        _close(child)
        return child.pid

    def stop(self, name: str) -> int:
        """End one process by SIGTERM (by SIGKILL after a grace period); returns its exit code."""
        return _end(self._running.pop(name))

    def stop_all(self) -> None:
        """End them all, the youngest first."""
        for child in self._running.values():
            child.terminate()
        for name in reversed(list(self._running)):
            self.stop(name)

    def ended(self) -> Sequence[str]:
        """The names of those that ended though nobody ended them."""
        return [name for name, child in self._running.items() if child.poll() is not None]


def _end(child: subprocess.Popen[str]) -> int:
    child.terminate()
    try:
        return child.wait(GRACE)
    except subprocess.TimeoutExpired:
        # A supervisor that does not end leaves workers: its whole session is our own.
        os.killpg(child.pid, signal.SIGKILL)
        return child.wait()
    finally:
        _close(child)


def _close(child: subprocess.Popen[str]) -> None:
    if child.stdout is not None:
        child.stdout.close()
