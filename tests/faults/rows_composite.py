"""The row in which everything happens, by a random schedule that a seed repeats."""

from __future__ import annotations

import random
import signal
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass, field

from rabbitjobs.broker.url import parse_urls
from tests.faults.process import Process
from tests.faults.proxy import BOTH as EITHER
from tests.faults.proxy import Proxy, proxy
from tests.faults.row import row
from tests.faults.rows_broker import BOTH, SENDERS, WORK
from tests.faults.rows_cluster import cluster
from tests.faults.rows_processes import MIXED
from tests.faults.stage import SLOTS, Stage

SECONDS = 120.0


@dataclass
class Storm:
    """The actors of the composite row, and what can befall them."""

    stage: Stage
    chance: random.Random
    proxies: list[Proxy]
    url: str
    workers: list[Process]
    publisher: Process
    publishing: tuple[str, ...]
    told: list[str] = field(default_factory=list)

    def strike(self) -> None:
        """One fault, whole: what it breaks stands again afterwards."""
        faults = (
            self.kill_worker,
            self.stop_worker,
            self.kill_publisher,
            self.reset,
            self.black_hole,
            self.kill_leader,
            self.restart_node,
            self.freeze_node,
            self.hold_store,
        )
        fault = self.chance.choice(faults)
        self.told.append(fault.__name__)
        fault()
        self.stage.heal()
        self.stage.recovers()
        time.sleep(self.chance.uniform(0, 2))

    def kill_worker(self) -> None:
        """kill -9 of a worker."""
        self.stage.fault(duplicates=SLOTS)
        self.workers.pop(self.chance.randrange(len(self.workers))).kill()
        self.workers += self.stage.workers(1, RABBITJOBS_URL=self.url)

    def stop_worker(self) -> None:
        """SIGTERM to a worker."""
        self.stage.fault()
        old = self.workers.pop(self.chance.randrange(len(self.workers)))
        old.signal(signal.SIGTERM)
        old.ends(0)
        self.workers += self.stage.workers(1, RABBITJOBS_URL=self.url)

    def kill_publisher(self) -> None:
        """kill -9 of the publisher; its next life sends again what it had not heard of."""
        self.stage.fault(duplicates=SENDERS, reruns=SENDERS)
        self.publisher.kill()
        self.publisher = self.stage.start("publisher", *self.publishing, RABBITJOBS_URL=self.url)
        self.stage.publishers.append(self.publisher)

    def reset(self) -> None:
        """Every connection is reset."""
        self.stage.fault(duplicates=BOTH, reruns=SENDERS)
        for one in self.proxies:
            one.reset()

    def black_hole(self) -> None:
        """What is connected to one node hears nothing more and is heard no more."""
        self.stage.fault(duplicates=BOTH, reruns=SENDERS)
        self.chance.choice(self.proxies).swallow(*EITHER)

    def kill_leader(self) -> None:
        """kill -9 of the leader's node."""
        self.stage.fault(duplicates=BOTH, reruns=SENDERS)
        leader = cluster(self.stage).leader(self.stage.vhost, WORK)
        leader.kill()
        time.sleep(self.chance.uniform(0, 3))
        leader.start()

    def restart_node(self) -> None:
        """SIGTERM to any node."""
        self.stage.fault(duplicates=BOTH, reruns=SENDERS)
        self.chance.choice(cluster(self.stage).nodes).restart()

    def freeze_node(self) -> None:
        """SIGSTOP of any node."""
        self.stage.fault(duplicates=BOTH, reruns=SENDERS)
        node = self.chance.choice(cluster(self.stage).nodes)
        node.pause()
        time.sleep(self.chance.uniform(1, 8))
        node.resume()

    def hold_store(self) -> None:
        """Somebody else writes into the database for a while."""
        self.stage.fault()
        store = sqlite3.connect(self.stage.folder / "store.db", timeout=10)
        with closing(store) as held:
            held.isolation_level = None
            held.execute("BEGIN IMMEDIATE")
            time.sleep(self.chance.uniform(1, 5))
            held.execute("ROLLBACK")


PUBLISHING = ("-m", "tests.faults.publisher", "--name", "p0", "--own-ids", "--recover")
"""A publisher's command: with ids of its own, and what an earlier life of it left open."""


def behind_proxies(stage: Stage) -> tuple[list[Proxy], str]:
    """A proxy before every node, and the URLs that lead through them, with a short heartbeat."""
    known = parse_urls(stage.url)
    proxies = [stage.opened.enter_context(proxy(one.port)) for one in known]
    return proxies, ",".join(
        part.replace(f":{one.port}/", f":{line.port}/") + "?heartbeat=3"
        for part, one, line in zip(stage.url.split(","), known, proxies, strict=True)
    )


@row(place="cluster", most_seconds=240)
def composite(stage: Stage) -> None:
    """Two minutes of random faults on three nodes behind proxies."""
    proxies, url = behind_proxies(stage)
    stage.intake()
    workers = stage.workers(2, RABBITJOBS_URL=url)
    publishing = (*PUBLISHING, *MIXED, "--deadline", "4", "--rate", "60")
    publisher = stage.start("publisher", *publishing, RABBITJOBS_URL=url)
    stage.publishers.append(publisher)
    stage.flows(30)
    storm = Storm(stage, random.Random(stage.seed), proxies, url, workers, publisher, publishing)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        storm.strike()
