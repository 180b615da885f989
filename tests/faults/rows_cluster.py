"""Rows on three nodes: a leader dies, all die, each restarts, one is parted from the others."""

from __future__ import annotations

from rabbitjobs.broker.cluster import Cluster
from tests.faults.row import row
from tests.faults.rows_broker import BOTH, SENDERS, WORK
from tests.faults.rows_processes import MIXED
from tests.faults.stage import Stage

LOAD = (*MIXED, "--deadline", "4")


def cluster(stage: Stage) -> Cluster:
    """The stage's cluster."""
    assert stage.cluster is not None
    return stage.cluster


@row(place="cluster")
def leader_kill(stage: Stage) -> None:
    """kill -9 of the node that leads the work queue, twice: the majority goes on without it."""
    stage.intake()
    stage.load(*LOAD)
    for _ in range(2):
        leader = cluster(stage).leader(stage.vhost, WORK)
        stage.fault(duplicates=BOTH, reruns=SENDERS)
        leader.kill()
        stage.heal()
        stage.recovers()
        stage.flows(50)
        leader.start()


@row(place="cluster")
def all_nodes_kill(stage: Stage) -> None:
    """kill -9 of all three at the same time: everything that was confirmed is on their disks."""
    stage.load("--deadline", "4", "--mix", "mark,flaky")
    stage.fault(duplicates=BOTH, reruns=SENDERS)
    cluster(stage).kill()
    cluster(stage).start()
    stage.heal()
    stage.recovers()


@row(place="cluster")
def rolling_restart(stage: Stage) -> None:
    """SIGTERM and a new start, one node after the other, as for an upgrade."""
    stage.load("--deadline", "4", "--mix", "mark,flaky")
    for node in cluster(stage).nodes:
        stage.fault(duplicates=BOTH, reruns=SENDERS)
        node.stop()
        node.start()
        stage.heal()
        stage.recovers()


# Twice as long as others: the broker ends a connection to the parted node only a minute after its
# consumers have left it (``rabbit_fifo_client:cancel_checkout`` waits for a leader, seen on 4.3.6),
# and what the healed queue hands to those consumers meanwhile waits for that.
@row(place="cluster", most_seconds=120)
def partition(stage: Stage) -> None:
    """The leader's node is parted from the others: they elect another and go on; it is healed."""
    # No retries here: after a parting the broker's dead letters may be minutes late.
    stage.load("--deadline", "4", "--rate", "40")
    leader = cluster(stage).leader(stage.vhost, WORK)
    stage.fault(duplicates=BOTH, reruns=SENDERS)
    cluster(stage).cut_off(leader)
    stage.heal()
    stage.recovers()
    stage.flows(20)
    stage.fault(duplicates=BOTH, reruns=SENDERS)
    cluster(stage).rejoin(leader)
    stage.flows(20)
