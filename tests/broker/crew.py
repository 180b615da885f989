"""A shop with real worker processes on a real RabbitMQ: what the tests of the core share."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pika

from rabbitjobs import RabbitJobs
from rabbitjobs.backend.protocol import Status
from rabbitjobs.broker.local import wait_stopped
from rabbitjobs.broker.node import Node
from rabbitjobs.broker.url import parse_urls
from tests.brokers import SHORT_LADDER

ROOT = Path(__file__).parents[2]
PATIENCE = 40.0
# Apps with one quick job on the queue ``work``: one only runs, one writes down that it did.
ECHO = """
from rabbitjobs import RabbitJobs

app = RabbitJobs()


@app.job("echo", queue="work")
def echo(number: int) -> int:
    return number
"""
NOTE = """
from rabbitjobs import RabbitJobs

app = RabbitJobs()


@app.job("note", queue="work")
def note(number: int) -> int:
    with open("done", "a") as done:
        print(number, file=done)
    return number
"""


def until(condition: Callable[[], object], *, why: Callable[[], object] = lambda: "") -> None:
    """Return once ``condition`` holds; fail with ``why`` when it does not for long."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, why()
        time.sleep(0.02)


@dataclass
class Worker:
    """One ``rabbitjobs consume`` process."""

    process: subprocess.Popen[bytes]
    path: Path

    @property
    def log(self) -> str:
        """What it has said so far."""
        return self.path.read_text(encoding="utf-8")

    def says(self, text: str, times: int = 1) -> None:
        """Wait until it has said this so often; fail if it ends before."""

        def said() -> bool:
            ended = self.process.poll() is not None  # first: its last words come before
            found = self.log.count(text) >= times
            assert found or not ended, self.log
            return found

        until(said, why=lambda: self.log)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; SIGSTOP has stopped all its threads when this returns."""
        self.process.send_signal(number)
        if number == signal.SIGSTOP:
            wait_stopped(self.process.pid)

    def ends(self) -> int:
        """Wait for its end; returns the exit code."""
        return self.process.wait(PATIENCE)


@dataclass
class Crew:
    """A folder with the app's code and config, a vhost, a store, and the workers started here."""

    folder: Path
    node: Node
    url: str
    store_url: str
    app: RabbitJobs
    workers: list[Worker] = field(default_factory=list)

    @property
    def vhost(self) -> str:
        """The vhost of this test."""
        return parse_urls(self.url)[0].vhost

    def environment(self, url: str | None = None) -> dict[str, str]:
        """What a process of this shop is started with."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("RABBITJOBS_")}
        return kept | {
            "PYTHONPATH": str(ROOT),
            "RABBITJOBS_APP": "shop:app",
            "RABBITJOBS_URL": url or self.url,
            "RABBITJOBS_MANAGEMENT_URL": self.node.management_url,
            "RABBITJOBS_STORE_URL": self.store_url,
        }

    def consume(self, queue: str, *options: str, url: str | None = None) -> Worker:
        """Start the worker process of a queue."""
        return self.start("consume", queue, *options, url=url)

    def start(self, *command: str, url: str | None = None, wrapped: Sequence[str] = ()) -> Worker:
        """Start a ``rabbitjobs`` command in the background, behind another one if need be."""
        path = self.folder / f"worker-{len(self.workers)}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(
                [*wrapped, sys.executable, "-m", "rabbitjobs", *command],
                cwd=self.folder,
                env=self.environment(url),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        worker = Worker(process, path)
        self.workers.append(worker)
        return worker

    def python(self, code: str) -> str:
        """Run a program of the shop to its end; returns what it printed."""
        ran = subprocess.run(
            [sys.executable, "-c", code],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def total(self, name: str) -> int:
        """The exact number of messages in one of the namespace's queues."""
        return self.node.messages_total(self.vhost, f"shop.{name}")

    def ready(self, name: str) -> int:
        """How many messages of one of the namespace's queues wait, held by no consumer."""
        with closing(pika.BlockingConnection(pika.URLParameters(self.url))) as connection:
            found = connection.channel().queue_declare(f"shop.{name}", passive=True)
            return int(found.method.message_count)

    def status(self, job_id: str) -> Status:
        """Where a job stands."""
        return self.app.handle(job_id).status()

    def until_status(self, status: Status, *job_ids: str) -> None:
        """Wait until jobs stand there."""
        for job_id in job_ids:
            until(
                lambda job_id=job_id: self.status(job_id) is status,  # type: ignore[misc]
                why=lambda job_id=job_id: (job_id, self.status(job_id), *self.logs()),  # type: ignore[misc]
            )

    def logs(self) -> list[str]:
        """What each worker has said, for the message of a test that fails."""
        return [worker.log for worker in self.workers]

    def lines(self, name: str = "done") -> list[str]:
        """The lines that jobs have written into a file of the folder."""
        path = self.folder / name
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


@contextmanager
def crew(
    node: Node, folder: Path, code: str, topology: str, *, store: str = "store.db"
) -> Iterator[Crew]:
    """A shop on a fresh vhost, its topology applied; workers that still run are killed."""
    (folder / "shop.py").write_text(code, encoding="utf-8")
    (folder / "config").mkdir()
    if "\ndelays:" not in topology:
        topology = f"{topology.rstrip()}\n{SHORT_LADDER}"
    (folder / "config" / "topology.yaml").write_text(topology, encoding="utf-8")
    url = node.create_vhost()
    store_url = f"sqlite:///{folder / store}"
    app = RabbitJobs(config=folder / "config")
    found = Crew(folder, node, url, store_url, app)
    try:
        with app.overridden(url=url, store_url=store_url, management_url=node.management_url):
            app.apply()
            yield found
    finally:
        for worker in found.workers:
            if worker.process.poll() is None:
                worker.process.kill()
                worker.process.wait()
        if node.ready:
            node.delete_vhost(found.vhost)
