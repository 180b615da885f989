"""Somebody who reads the docs: runs what they say where they say it, and waits for servers."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from rabbitjobs.broker.layout import free_ports

ROOT = Path(__file__).parents[2]
STARTED = 90.0


@dataclass(frozen=True)
class Reader:
    """Somebody who tries an example: where he stands, and his environment.

    ``output`` is a folder for what background processes print; else the one he stands in.
    """

    folder: Path
    environment: dict[str, str]
    output: Path | None = None

    def python(self, *arguments: str, timeout: float = 60) -> str:
        """Run ``python arguments`` to its end; returns what it printed."""
        ran = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start ``python arguments`` in the background, with its output in ``output.log``."""
        with self._printed.open("a") as log:
            return subprocess.Popen(
                [sys.executable, *arguments],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def log(self) -> str:
        """What the background processes printed."""
        return self._printed.read_text()

    @property
    def _printed(self) -> Path:
        return (self.output or self.folder) / "output.log"


def end(process: subprocess.Popen[bytes]) -> int:
    """End a background process in order; returns its exit code."""
    process.terminate()
    return process.wait(60)


def free_port() -> int:
    """A port of the loopback address that nobody uses now, and that no client is given by Linux."""
    return free_ports(1)[0]


def wait_for(url: str, server: subprocess.Popen[bytes], reader: Reader) -> None:
    """Return once something answers at ``url``; fail with the server's output if it ends first."""
    deadline = time.monotonic() + STARTED
    while time.monotonic() < deadline:
        try:
            httpx.get(url, timeout=5)
        except httpx.TransportError:
            assert server.poll() is None, reader.log()
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"no answer from {url} within {STARTED} s: {reader.log()}")
