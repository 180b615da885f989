"""The stage: a folder, a private RabbitMQ, two servers and what ties them together."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from examples.shop.processes import ROOT, Processes
from rabbitjobs.broker.layout import free_ports
from rabbitjobs.broker.node import Node

MAIL_SERVER = "mail-server"
CARRIER_SERVER = "carrier-server"
WORKERS = "workers"


@dataclass(frozen=True)
class Stage:
    """Where the demo plays."""

    folder: Path
    node: Node
    processes: Processes
    mail_port: int

    @property
    def store(self) -> Path:
        """The SQLite file of the store."""
        return self.folder / "store.db"

    def rabbitjobs(
        self, *arguments: str, editor: str | None = None, allowed: Collection[int] = (0,)
    ) -> str:
        """Run one ``rabbitjobs`` command as a person would, and return what it printed.

        Raises ``RuntimeError`` with its output if its exit code is not an allowed one.
        """
        environment = dict(self.processes.environment)
        if editor is not None:
            environment |= {"EDITOR": editor, "VISUAL": editor}
        ran = subprocess.run(
            [sys.executable, "-m", "rabbitjobs", *arguments],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if ran.returncode not in allowed:
            command = " ".join(arguments)
            raise RuntimeError(f"`rabbitjobs {command}` failed: {ran.stderr or ran.stdout}")
        return ran.stdout

    def start_workers(self) -> None:
        """Start the supervisor: a process for each queue, the review intake and the notifier."""
        self.processes.start(WORKERS, "rabbitjobs", "--log-format", "json", "run")

    def kill_a_worker(self, queue: str) -> int:
        """Kill -9 the process that consumes a queue; returns its pid. It will be replaced."""
        pid = worker_pid((self.folder / f"{WORKERS}.log").read_text(), queue)
        os.kill(pid, signal.SIGKILL)
        return pid

    def restart_mail_server(self) -> None:
        """Start the mail server again, where it was and with what it had promised."""
        start_mail_server(self.processes, self.folder, self.mail_port)

    def held(self) -> dict[str, int]:
        """The exact number of messages that the broker holds, by queue."""
        return {name: self.node.messages_total("/", name) for name in self._queues}

    def ignored(self) -> list[str]:
        """The ids of the jobs whose record the broker keeps in its window of ignored jobs."""
        peek = ("queue", "peek", "shop.ignored", "--count", "1000", "--yes", "--json")
        return [one["id"] for one in json.loads(self.rabbitjobs(*peek))]

    def notices(self) -> int:
        """How many failures the notifier has told by its log."""
        return (self.folder / f"{WORKERS}.log").read_text().count('"type": "job.failed"')

    @cached_property
    def _queues(self) -> list[str]:
        return self.node.rabbitmqctl("list_queues", "name", "--no-table-headers").split()


def worker_pid(log: str, queue: str) -> int:
    """The pid of the newest worker of a queue, as the workers' log tells it."""
    lines = (json.loads(line) for line in log.splitlines() if line.startswith("{"))
    names = [line["worker"] for line in lines if line.get("roles") == f"consume {queue}"]
    return int(names[-1].rpartition(":")[2])


def start_mail_server(processes: Processes, folder: Path, port: int) -> int:
    """Start the SMTP server; returns its port."""
    module = "examples.shop.mail_server"
    return processes.start_server(MAIL_SERVER, module, "--spool", str(folder), "--port", str(port))


def start_carrier(processes: Processes, folder: Path) -> int:
    """Start the carrier's endpoint; returns its port."""
    module = "examples.shop.fulfilment_server"
    return processes.start_server(CARRIER_SERVER, module, "--spool", str(folder))


def environment(folder: Path, node: Node) -> dict[str, str]:
    """What the shop's processes find there: our broker and store, never the user's."""
    return os.environ | {
        "PYTHONPATH": str(ROOT),
        "RABBITJOBS_URL": node.url,
        "RABBITJOBS_MANAGEMENT_URL": node.management_url,
        "RABBITJOBS_STORE_URL": f"sqlite:///{folder / 'store.db'}",
        "SHOP_JOURNAL": str(folder / "journal.txt"),
        "SHOP_INVOICES": str(folder / "invoices"),
    }


def set_stage(folder: Path, node: Node, processes: Processes) -> Stage:
    """Start both servers and tell everybody where they listen."""
    (folder / "invoices").mkdir()
    # One that Linux gives to no client while the server is down.
    (mail_port,) = free_ports(1)
    start_mail_server(processes, folder, mail_port)
    carrier_port = start_carrier(processes, folder)
    processes.environment |= {
        "SHOP_SMTP_PORT": str(mail_port),
        "SHOP_CARRIER": f"http://127.0.0.1:{carrier_port}",
    }
    return Stage(folder, node, processes, mail_port)
