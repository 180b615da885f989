"""Running one contestant on a vhost of its own: its commands, its workers, and what they did."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.machine import cpu_seconds
from rabbitjobs.broker.node import Node

HERE = Path(__file__).parent
OUR_PATH = os.pathsep.join([str(HERE.parent), str(HERE / "contestants")])
PATIENCE = 180.0
SLOWEST = 2_000  # jobs a second: below that a contestant is taken to be stuck
LOOK_SECONDS = 0.002
SETTLE_SECONDS = 10.0

Worker = subprocess.Popen[bytes]


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


class Bout:
    """One contestant on a fresh vhost.

    ``expected`` counts the marks of each kind that there must be in the end (a job that is done
    leaves a dot), and ``left`` the messages that must stand in each queue; others must be empty.
    """

    def __init__(self, node: Node, contestant: Contestant, env: Mapping[str, str]) -> None:
        self.node = node
        self.contestant = contestant
        self.folder = Path(tempfile.mkdtemp(prefix="rabbitjobs-bench-"))
        self.url = node.create_vhost()
        self.vhost = urlsplit(self.url).path.lstrip("/")
        self.broker_pid = int(node.ask("list_to_integer(os:getpid())."))
        self.marks = self.folder / "marks"
        self.marks.touch()
        self.env = self._environment(env)
        self.expected: Counter[str] = Counter()
        self.left: dict[str, int] = {}
        if contestant.prepare:
            self.run(*contestant.prepare)

    def _environment(self, env: Mapping[str, str]) -> dict[str, str]:
        url = urlsplit(self.url)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RABBITJOBS_", "BENCH_"))}
        return {
            **kept,
            "PYTHONPATH": OUR_PATH if "ours" in str(self.contestant.command) else "",
            "XDG_STATE_HOME": str(self.folder),  # where ours has its store if none is named
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
            env=self.env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=5 * PATIENCE,
            check=False,
        )
        if ran.returncode != 0:
            raise BenchError(f"{self.contestant.name} {' '.join(words)}: {ran.stderr[-3000:]}")
        lines = [line for line in ran.stdout.splitlines() if line.startswith("{")]
        found: dict[str, Any] = json.loads(lines[-1]) if lines else {}
        self.expected["."] += int(found.get("sent", 0))
        return found

    @contextmanager
    def workers(self, count: int = 1) -> Iterator[Sequence[Worker]]:
        """Its worker processes, ended in order afterwards."""
        with ExitStack() as running:
            yield [running.enter_context(self._worker()) for _ in range(count)]

    @contextmanager
    def _worker(self) -> Iterator[Worker]:
        with (self.folder / "worker.log").open("ab") as out:
            process = subprocess.Popen(
                self.contestant.worker or (*self.contestant.command, "work"),
                env=self.env,
                cwd=self.folder,
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def until(
        self, count: int, workers: Sequence[Worker], look: Callable[[], None] = lambda: None
    ) -> None:
        """Wait for so many marks; ``look`` is called again and again meanwhile."""
        deadline = time.monotonic() + PATIENCE + count / SLOWEST
        while self.marked() < count:
            ended = any(worker.poll() is not None for worker in workers)
            if ended or time.monotonic() > deadline:
                said = (self.folder / "worker.log").read_text(errors="replace")[-3000:]
                raise BenchError(
                    f"{self.contestant.name}: expected {count} marks, got {self.marked()}: {said}"
                )
            look()
            time.sleep(LOOK_SECONDS)

    def marked(self) -> int:
        """The marks so far, of all kinds."""
        return self.marks.stat().st_size

    def broker_cpu(self) -> float:
        """CPU seconds of the broker since its start."""
        return cpu_seconds(self.broker_pid)

    def settle(self) -> None:
        """Wait for the last acks: raw clients do not send them once they are told to end."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while self._waiting() != self.left and time.monotonic() < deadline:
            time.sleep(0.05)

    def _waiting(self) -> dict[str, int]:
        queues = self.node.messages_by_queue(self.vhost)
        return {queue: number for queue, number in queues.items() if number}

    def check(self) -> None:
        """Each job ran as often as it should, none twice, and nothing is left that should not."""
        marks = Counter(self.marks.read_text())
        left = self._waiting()
        if marks != +self.expected or left != self.left:
            raise BenchError(
                f"{self.contestant.name}: expected marks {dict(self.expected)} and in the queues "
                f"{self.left}, got {dict(marks)} and {left}"
            )

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
