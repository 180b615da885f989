"""Asking that jobs end: written into the store first, then told to the workers."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal

from rabbitjobs.clock import now
from rabbitjobs.errors import CancelRefused
from rabbitjobs.store.cancellations import Cancellation
from rabbitjobs.topology.names import LONGEST

if TYPE_CHECKING:
    from rabbitjobs.store.engine import Store

GRACE: Final = timedelta(seconds=10)
"""What a running job has to end by itself before it is ended by force."""
# Until the job was dropped, which may be when it comes off the longest delay that there is: how
# long it waits already, and for what, nobody but the broker knows.
KEPT_SECONDS: Final = 2 * LONGEST.total_seconds()
_NAME = 255
_WHY = 2000


class Canceller:
    """Cancels jobs of one namespace; ``tell`` lets the workers know, as far as it can.

    Any thread; each call blocks for one transaction.
    """

    def __init__(self, store: Callable[[], Store], tell: Callable[[], None]) -> None:
        self._store = store
        self._tell = tell

    def cancel(
        self,
        job_ids: Sequence[str],
        *,
        tag: str | None = None,
        who: str | None = None,
        why: str = "",
        grace: timedelta | None = None,
    ) -> None:
        """Write the orders and tell the workers; see ``RabbitJobs.cancel``."""
        grace = GRACE if grace is None else grace
        _check(job_ids, tag, grace)
        at, by = now(), who or whoami()
        asked: list[tuple[Literal["id", "tag"], str]] = [
            *(("id", job_id) for job_id in sorted(set(job_ids))),
            *((("tag", tag),) if tag is not None else ()),
        ]
        orders = [
            Cancellation(
                kind=kind, value=value, at=at, grace=grace.total_seconds(), who=by, why=why[:_WHY]
            )
            for kind, value in asked
        ]
        store = self._store()
        from rabbitjobs.store import cancellations

        store.run(
            lambda one: cancellations.put(one, store.namespace, orders, until=at + KEPT_SECONDS)
        )
        self._tell()


def whoami() -> str:
    """You on this machine, as the store shall remember you."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        user = "somebody"
    return f"{user}@{socket.gethostname()}"


def _check(job_ids: Sequence[str], tag: str | None, grace: timedelta) -> None:
    if (tag is None) == (not job_ids):
        raise CancelRefused("expected job ids or a tag, got both or neither; name one of them")
    for text in (*job_ids, *((tag,) if tag is not None else ())):
        if not isinstance(text, str) or not 1 <= len(text.encode(errors="replace")) <= _NAME:
            raise CancelRefused(f"expected a job id or tag of 1 to {_NAME} bytes, got {text!r:.40}")
    if not timedelta(0) <= grace <= timedelta(days=1):
        raise CancelRefused(f"expected a grace from 0 s to a day, got {grace}")
