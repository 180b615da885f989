"""The stage of one row: a vhost, a folder, an app's processes under load, and the final account."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

from rabbitjobs import RabbitJobs
from rabbitjobs.broker.cluster import Cluster
from rabbitjobs.broker.node import Node
from rabbitjobs.broker.url import parse_urls
from tests.faults.ledger import ENDINGS, Balance, Line, Pen, balance, read, recovery
from tests.faults.process import PATIENCE, Failed, Process, until

ROOT = Path(__file__).parents[2]
# A run in which nothing has ended for so long does not go on by itself.
STILL = 40.0
SLOTS = 10
TOPOLOGY = """
version: 1
namespace: faults
retry:
  default: {attempts: 3, backoff: fixed, delay: 1s}
queues:
  work:
    concurrency: %(slots)s
%(more)s
    on:
      - {error: tests.faults.load.Again, do: retry}
"""


@dataclass
class Stage:
    """Where one row plays.

    ``url`` is what the app's processes get, of every node; ``direct`` is that of ``node`` alone.
    """

    folder: Path
    node: Node
    url: str
    direct: str
    vhost: str
    wire: str
    seed: int
    app: RabbitJobs
    environment: dict[str, str]
    processes: list[Process] = field(default_factory=list)
    publishers: list[Process] = field(default_factory=list)
    opened: ExitStack = field(default_factory=ExitStack)
    injected: int = 0
    healed: float | None = None
    healed_from: int = 0
    most_duplicates: int = 0
    most_reruns: int = 0
    rerun_seconds: float = inf
    poison: int = 0
    cluster: Cluster | None = None

    @property
    def ledger(self) -> Path:
        """The ledger's file."""
        return self.folder / "ledger"

    def lines(self, kind: str | None = None) -> list[Line]:
        """The ledger so far, or its lines of one kind."""
        return [line for line in read(self.ledger) if kind is None or line.kind == kind]

    def count(self, kind: str) -> int:
        """How many lines of a kind the ledger has."""
        return (
            len(re.findall(rf"(?m)^{kind} ", self.ledger.read_text()))
            if self.ledger.exists()
            else 0
        )

    # --- processes ------------------------------------------------------------------------------

    def start(self, name: str, *words: str, **variables: str) -> Process:
        """Start ``python words`` in the folder."""
        path = self.folder / f"{name}-{len(self.processes)}.log"
        with path.open("wb") as log:
            popen = subprocess.Popen(
                [sys.executable, *words],
                cwd=self.folder,
                env=self.environment | variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        made = Process(popen, path)
        self.processes.append(made)
        return made

    def worker(self, *options: str, **variables: str) -> Process:
        """Start ``rabbitjobs consume work``."""
        return self.start("worker", "-m", "rabbitjobs", "consume", "work", *options, **variables)

    def workers(self, count: int, *options: str, **variables: str) -> list[Process]:
        """Start workers, and wait until they consume."""
        started = [self.worker(*options, **variables) for _ in range(count)]
        return [one.says("healthy: consuming") for one in started]

    def intake(self, **variables: str) -> Process:
        """Start ``rabbitjobs intake``: from the review queue into the store."""
        return self.start("intake", "-m", "rabbitjobs", "intake", **variables)

    def publish(self, *options: str, **variables: str) -> Process:
        """Start a publisher."""
        name = f"p{len(self.publishers)}"
        words = ("-m", "tests.faults.publisher", "--name", name, *options)
        made = self.start("publisher", *words, **variables)
        self.publishers.append(made)
        return made

    def rabbitjobs(self, *words: str) -> str:
        """Run one command of the CLI, and return what it printed."""
        ran = subprocess.run(
            [sys.executable, "-m", "rabbitjobs", *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        if ran.returncode != 0:
            raise Failed(f"`rabbitjobs {' '.join(words)}` failed: {ran.stderr or ran.stdout}")
        return ran.stdout

    def load(self, *options: str, workers: int = 2, **variables: str) -> list[Process]:
        """Workers, a publisher, and a moment of work: what a fault needs to break into."""
        crew = self.workers(workers, **variables)
        self.publish(*options, **variables)
        self.flows(30)
        return crew

    def flows(self, jobs: int = 30) -> None:
        """Wait until so many more jobs have run."""
        before = self.count("E")
        until(lambda: self.count("E") >= before + jobs, f"{jobs} more jobs to run", why=self.said)

    def said(self) -> str:
        """The ends of all logs, for a row that fails."""
        return "\n".join(f"[{one.path.stem}] {one.log[-600:]}" for one in self.processes)

    # --- faults ---------------------------------------------------------------------------------

    def fault(self, *, duplicates: int = 0, reruns: int = 0, within: float = inf) -> None:
        """Count a fault that is about to happen, and the runs that it may double.

        ``reruns`` of them may begin after the job's ending: of two copies that a publisher wrote
        into a broken connection, the first may come last, and nobody looks it up. Where copies can
        only overlap, a rerun must begin ``within`` so many seconds of the ending.
        """
        self.injected += 1
        self.most_duplicates += duplicates
        self.most_reruns += reruns
        self.rerun_seconds = within

    def heal(self) -> None:
        """From here the time to recover counts."""
        self.healed_from = self.ledger.stat().st_size if self.ledger.exists() else 0
        self.healed = time.monotonic()

    def recovers(self) -> None:
        """Wait until a job that was sent after the fault has run."""
        healed = self.healed or 0.0
        since = self.healed_from  # a long run's ledger is long
        until(
            lambda: recovery(read(self.ledger, since), healed) is not None, "a recovery", pause=0.1
        )

    # --- the account ----------------------------------------------------------------------------

    def stop_publishers(self) -> None:
        """End them in order: everything that they began is confirmed."""
        for one in self.publishers:
            if one.alive:
                one.signal(signal.SIGTERM)
        for one in self.publishers:
            one.ends(None if one.popen.returncode is not None else 0)

    def settle(self) -> Balance:
        """Stop the load, wait until everything has ended, stop the workers, add everything up."""
        self.stop_publishers()
        states = self._states()
        kept = Counter(ENDINGS[state] for state in states.values())
        self._wait_empty(kept["I"], kept["Q"], "while workers run")
        for one in self.processes:
            if one.alive:
                one.signal(signal.SIGTERM)
        for one in self.processes:
            if one not in self.publishers and one.popen.returncode is None:
                one.ends()
        states = self._states()  # what stood still for long may have ended since
        kept = Counter(ENDINGS[state] for state in states.values())
        pen = Pen(self.ledger)
        tokens = {line.job_id: line.token for line in read(self.ledger) if line.job_id != "-"}
        for job_id, state in states.items():
            pen.write(ENDINGS[state].lower(), tokens.get(job_id, "-"), job_id)
        self._wait_empty(kept["I"], kept["Q"], "after the workers' end")
        ignored = {one["id"] for one in self.peek("ignored")} if kept["I"] else set()
        if len(ignored) != kept["I"]:
            raise Failed(f"expected {kept['I']} ids in the window of ignored, got {len(ignored)}")
        return balance(read(self.ledger))

    def _states(self) -> Mapping[str, str]:
        """Every job's resting state by its handle, once all have one, or nothing moves any more."""
        resting: dict[str, str] = {}
        grew = time.monotonic()
        while True:
            lines = read(self.ledger)
            ids = {line.job_id for line in lines if line.kind in "ACSDVIQX"} - {"-"}
            before = len(resting)
            for job_id in ids - resting.keys():
                state = self.app.handle(job_id).status().value
                if state in ENDINGS:
                    resting[job_id] = state
            now = time.monotonic()
            grew = now if len(resting) > before else grew
            owed = {line.job_id for line in lines if line.kind in "CS"} - resting.keys()
            if not owed or now > grew + STILL:
                return resting  # what is owed then, is lost
            time.sleep(0.2)

    def _wait_empty(self, ignored: int, quarantined: int, when: str) -> None:
        """Nothing is left in any queue but what is kept on purpose, by the exact count.

        A kept record may be there twice: its worker died between the confirm and the ack. Queues
        are counted one after another, and a message may move from one that is still to be counted
        to one that has been (a second copy, on its way back from a retry queue): so three counts in
        a row must find nothing.
        """
        kept = {"faults.ignored": ignored, "faults.quarantine": quarantined + self.poison}

        def left() -> dict[str, int]:
            excess = {name: n - kept.get(name, 0) for name, n in self.totals().items()}
            return {
                name: n
                for name, n in excess.items()
                if not 0 <= n <= (self.most_duplicates if name in kept else 0)
            }

        def where() -> str:
            columns = ("name", "messages_ready", "messages_unacknowledged", "consumers")
            words = ("-p", self.vhost, "list_queues", *columns, "--no-table-headers")
            told = self.node.rabbitmqctl(*words).splitlines()
            return "; ".join([str(left()), *(one for one in told if one.split()[0] in left())])

        def nothing_left() -> bool:
            return all(not left() for _ in range(3))

        until(nothing_left, f"empty queues {when}", pause=0.5, why=where)

    def totals(self) -> dict[str, int]:
        """The exact number of messages of every queue of this vhost: ready, unacked, held."""
        found = self.node.messages_by_queue(self.vhost)
        return {name: total for name, total in found.items() if name.startswith("faults.")}

    def peek(self, queue: str) -> list[dict[str, Any]]:
        """The messages that lie in a queue."""
        words = ("queue", "peek", queue, "--count", "1000", "--yes", "--json")
        found: list[dict[str, Any]] = json.loads(self.rabbitjobs(*words))
        return found

    def recovered(self) -> float | None:
        """The time to recover, in seconds; ``None`` without a fault that ends."""
        return (
            None
            if self.healed is None
            else recovery(read(self.ledger, self.healed_from), self.healed)
        )


@contextmanager
def stage(
    node: Node,
    folder: Path,
    *,
    cluster: Cluster | None = None,
    wire: str = "pika",
    seed: int = 0,
    topology: Mapping[str, str] | None = None,
) -> Iterator[Stage]:
    """A stage on a fresh vhost of ``node``, its topology applied; all is cleared away then."""
    (folder / "config").mkdir(parents=True)
    keys = {"delivery_limit": "200", **(topology or {})}
    more = "\n".join(f"    {key}: {value}" for key, value in keys.items())
    words = {"slots": SLOTS, "more": more}
    (folder / "config" / "topology.yaml").write_text(TOPOLOGY % words)
    (folder / "config" / "rabbitjobs.yaml").write_text(
        f"broker: {{wire: {wire}}}\n" if wire != "pika" else "include: []\n"
    )
    direct = node.create_vhost()
    vhost = parse_urls(direct)[0].vhost
    store_url = f"sqlite:///{folder / 'store.db'}"
    app = RabbitJobs(config=folder / "config")
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RABBITJOBS_")}
    given = cluster.vhost_url(vhost) if cluster else direct
    environment = kept | {
        "PYTHONPATH": str(ROOT),
        "FAULTS_LEDGER": str(folder / "ledger"),
        "RABBITJOBS_APP": "tests.faults.load:app",
        "RABBITJOBS_CONFIG": str(folder / "config"),
        "RABBITJOBS_URL": given,
        "RABBITJOBS_MANAGEMENT_URL": node.management_url,
        "RABBITJOBS_STORE_URL": store_url,
    }
    made = Stage(folder, node, given, direct, vhost, wire, seed, app, environment, cluster=cluster)
    try:
        with app.overridden(url=direct, store_url=store_url, management_url=node.management_url):
            app.apply()
            with made.opened:
                yield made
    finally:
        for process in made.processes:
            if process.alive:
                os.killpg(process.popen.pid, signal.SIGKILL)
                process.popen.wait()
        if node.ready:
            node.delete_vhost(vhost)
