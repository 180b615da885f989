"""Which workers are there: each has a queue of its own for remote control, and the broker lists
those that stand."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from rabbitjobs.broker.management import Management
from rabbitjobs.errors import BrokerError
from rabbitjobs.topology import names


def present(
    management: Callable[[], Management], namespace: str, vhost: str
) -> tuple[str, ...] | None:
    """The workers whose control queue stands; ``None`` if the management API cannot be asked.

    Such a queue goes with the connection of its worker: one that was just killed, or whose network
    is gone, is listed until the broker misses its heartbeats. One that is about to connect is not.
    """
    try:
        with closing(management()) as api:
            queues = api.queues(vhost)
    except BrokerError:  # away, refused, or nowhere where it may be asked
        return None
    found = (names.worker_of(namespace, str(queue["name"])) for queue in queues)
    return tuple(sorted({worker for worker in found if worker is not None}))
