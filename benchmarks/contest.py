"""Running one contestant: a command of it to its end, or its worker until the work is done."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.machine import cpu_seconds, resident_megabytes
from rabbitjobs.broker.node import Node

HERE = Path(__file__).parent
OUR_PATH = os.pathsep.join([str(HERE.parent), str(HERE / "contestants")])
PATIENCE = 180.0
LOOK_SECONDS = 0.002


class BenchError(Exception):
    """A contestant did not do its work: its figure would be worth nothing."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """One system as it is set for the contest. ``queue`` is the queue's name on the broker.

    ``worker`` is what starts its worker, else its ``command`` with "work".
    """

    name: str
    command: tuple[str, ...]
    queue: str
    env: Mapping[str, str] = field(default_factory=dict)
    prepare: tuple[str, ...] = ()
    send: str = "send"
    worker: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Drained:
    """How a worker worked off what waited."""

    rate: float
    client_cpu: float
    broker_cpu: float
    resident: float
    cold_start: float


class Bout:
    """One contestant on a fresh vhost."""

    def __init__(self, node: Node, contestant: Contestant, env: Mapping[str, str]) -> None:
        self.node = node
        self.contestant = contestant
        self.folder = Path(tempfile.mkdtemp(prefix="rabbitjobs-bench-"))
        self.url = node.create_vhost()
        self.vhost = urlsplit(self.url).path.lstrip("/")
        self.broker_pid = int(node.eval("list_to_integer(os:getpid())."))
        self.marks = self.folder / "marks"
        self.marks.touch()
        self._env = self._environment(env)
        self.expected = 0
        if contestant.prepare:
            self.run(*contestant.prepare)

    def _environment(self, env: Mapping[str, str]) -> dict[str, str]:
        url = urlsplit(self.url)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RABBITJOBS_", "BENCH_"))}
        return {
            **kept,
            "PYTHONPATH": OUR_PATH if "ours" in str(self.contestant.command) else "",
            "BENCH_URL": self.url,
            "BENCH_HOST": url.hostname or "",
            "BENCH_PORT": str(url.port),
            "BENCH_USER": url.username or "",
            "BENCH_PASSWORD": url.password or "",
            "BENCH_VHOST": self.vhost,
            "BENCH_MARKS": str(self.marks),
            "BENCH_PAYLOAD": "200",
            "RABBITJOBS_MANAGEMENT_URL": self.node.management_url,
            **self.contestant.env,
            **{k: v.replace("{folder}", str(self.folder)) for k, v in env.items()},
        }

    def run(self, *words: str) -> dict[str, Any]:
        """Run a command to its end; the figures that it said."""
        ran = subprocess.run(
            [*self.contestant.command, *words],
            env=self._env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        if ran.returncode != 0:
            raise BenchError(f"{self.contestant.name} {' '.join(words)}: {ran.stderr[-3000:]}")
        lines = [line for line in ran.stdout.splitlines() if line.startswith("{")]
        found: dict[str, Any] = json.loads(lines[-1]) if lines else {}
        self.expected += int(found.get("sent", 0))
        return found

    @contextmanager
    def worker(self) -> Iterator[subprocess.Popen[bytes]]:
        """Its worker process, ended in order afterwards."""
        log = self.folder / "worker.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                self.contestant.worker or (*self.contestant.command, "work"),
                env=self._env,
                cwd=self.folder,
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def drain(self) -> Drained:
        """Work off all that was sent: every mark counted once, the queue empty at the end."""
        started = time.perf_counter()
        with self.worker() as process:
            self._until(1, process)
            first = time.perf_counter()
            have, cpu, broker = self._count(), cpu_seconds(process.pid), self._broker_cpu()
            self._until(self.expected, process)
            seconds = time.perf_counter() - first
            worked = max(self.expected - have, 1)
            drained = Drained(
                rate=worked / seconds,
                client_cpu=(cpu_seconds(process.pid) - cpu) / worked * 10_000,
                broker_cpu=(self._broker_cpu() - broker) / worked * 10_000,
                resident=resident_megabytes(process.pid),
                cold_start=first - started,
            )
        self.check()
        return drained

    def check(self) -> None:
        """Each job ran, none twice, and nothing is left."""
        left = self.node.messages_total(self.vhost, self.contestant.queue)
        if self._count() != self.expected or left:
            raise BenchError(
                f"{self.contestant.name}: expected {self.expected} marks and an empty queue, "
                f"got {self._count()} and {left}"
            )

    def _until(self, count: int, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + PATIENCE
        while self._count() < count:
            if process.poll() is not None or time.monotonic() > deadline:
                said = (self.folder / "worker.log").read_text(errors="replace")[-3000:]
                raise BenchError(
                    f"{self.contestant.name}: expected {count} marks, got {self._count()}: {said}"
                )
            time.sleep(LOOK_SECONDS)

    def _count(self) -> int:
        return self.marks.stat().st_size

    def _broker_cpu(self) -> float:
        return cpu_seconds(self.broker_pid)

    def close(self) -> None:
        """Remove what this bout made."""
        self.node.delete_vhost(self.vhost)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def bout(
    node: Node, contestant: Contestant, env: Mapping[str, str] | None = None
) -> Iterator[Bout]:
    """A contestant on a vhost of its own."""
    made = Bout(node, contestant, env or {})
    try:
        yield made
    finally:
        made.close()


def python(venv: str) -> str:
    """The interpreter of a contestant's virtual environment."""
    return sys.executable if venv == "ours" else str(HERE.parent / ".bench" / venv / "bin/python")
