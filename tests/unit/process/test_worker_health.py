"""How a worker process is, from its first moment to its end, as a prober sees it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.docs.reader import free_port

ROOT = Path(__file__).parents[3]
PATIENCE = 60.0
WORKER = """
import asyncio, sys, time
from pathlib import Path
from rabbitjobs import RabbitJobs, events
from rabbitjobs.consumer.drained import Drained
from rabbitjobs.process.address import parse_address
from rabbitjobs.process.worker import Worker, _health

app = RabbitJobs("shop")


class Role:
    name = "test"

    async def start(self):
        self.task = asyncio.create_task(self.work())

    async def work(self):
        app.bus.emit(events.ConsumerChanged(at=0.0, queue="mails", state="consuming"))
        while not Path("block").exists():
            await asyncio.sleep(0.01)
        time.sleep(600)

    async def drain(self, grace, hurry):
        self.task.cancel()
        return Drained(0, 0, 0)


health = _health(app, parse_address(sys.argv[1]), Path("health"))
with health.elsewhere():
    Path("waiting").touch()
    while not Path("go").exists():
        time.sleep(0.01)
raise SystemExit(Worker(app, [Role()], grace=1.0, health=health).run())
"""


@contextmanager
def running(folder: Path, *command: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process in this folder; it is killed in the end."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RABBITJOBS_")}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=folder, env=kept | {"PYTHONPATH": str(ROOT)} | environment,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def until(condition: Callable[[], object], folder: Path) -> None:
    """Return once it holds; fail with the log."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.02)


def status(port: int, path: str, *, timeout: float = PATIENCE) -> int | None:
    """What is answered; ``None`` if nothing is."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/{path}", timeout=timeout).status_code
    except httpx.TransportError:
        return None


def test_a_worker_that_waits_for_its_broker_lives_and_is_not_ready(tmp_path: Path) -> None:
    """Whoever restarts what does not live would start it again and again."""
    port, file = free_port(), tmp_path / "health"
    (tmp_path / "jobs.py").write_text(
        "from rabbitjobs import RabbitJobs\napp = RabbitJobs('shop')\n\n\n"
        "@app.job\ndef job() -> None: ...\n"
    )
    command = ("-m", "rabbitjobs", "consume", "default", "--health", str(port))
    with running(
        tmp_path, *command, "--health-file", str(file),
        RABBITJOBS_APP="jobs:app", RABBITJOBS_URL="amqp://127.0.0.1:1/",
    ) as process:  # fmt: skip
        until(lambda: status(port, "live") == 200, tmp_path)
        assert status(port, "ready") == 503
        assert file.read_text() == "not ready\n"
        assert process.poll() is None


def test_a_worker_is_ready_while_it_consumes_and_silent_when_its_loop_is_blocked(
    tmp_path: Path,
) -> None:
    """The address is one from the first moment to the last; the file goes with the process."""
    port, file = free_port(), tmp_path / "health"
    with running(tmp_path, "-c", WORKER, str(port)):
        until((tmp_path / "waiting").exists, tmp_path)
        assert (status(port, "live"), status(port, "ready")) == (200, 503)
        (tmp_path / "go").touch()
        until(lambda: status(port, "ready") == 200, tmp_path)
        until(lambda: file.read_text() == "ready\nmails: consuming\n", tmp_path)
        (tmp_path / "block").touch()
        until(lambda: status(port, "live", timeout=0.5) is None, tmp_path)


def test_a_worker_that_ends_in_order_takes_its_file_with_it(tmp_path: Path) -> None:
    """Nobody is told that it is ready any more."""
    port, file = free_port(), tmp_path / "health"
    (tmp_path / "go").touch()
    with running(tmp_path, "-c", WORKER, str(port)) as process:
        until(lambda: status(port, "ready") == 200, tmp_path)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        assert not file.exists()
        assert status(port, "live") is None
