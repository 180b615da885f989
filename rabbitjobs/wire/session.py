"""What one process has open to the broker: the I/O thread, a publishing and a consuming link.

Two connections, because a memory or disk alarm blocks one that publishes while one that only
consumes and acks keeps working.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Sequence

from rabbitjobs.broker.url import Address
from rabbitjobs.wire.link import Link
from rabbitjobs.wire.outbound import Outbound
from rabbitjobs.wire.portal import Portal
from rabbitjobs.wire.protocol import Outcome, Outgoing, Wire


class Session:
    """Belongs to the process that made it; after a fork the child makes its own."""

    def __init__(
        self, make_wire: Callable[[], Wire], addresses: Sequence[Address], *, name: str
    ) -> None:
        self.pid = os.getpid()
        self.portal = Portal()
        label = f"{name}@{socket.gethostname()}:{self.pid}"
        self.publishing = Link(make_wire, addresses, name=f"{label} publish")
        self.consuming = Link(make_wire, addresses, name=f"{label} consume")
        self.outbound = Outbound(self.publishing)
        self._consuming_started = False
        self.portal.post(self.publishing.start)

    def publish(self, message: Outgoing, timeout: float, done: Callable[[Outcome], None]) -> None:
        """Publish from any thread; ``done`` is called on the I/O thread with the outcome."""
        self.portal.post(self.outbound.publish, message, timeout, done)

    def publish_all(
        self, requests: Sequence[tuple[Outgoing, float, Callable[[Outcome], None]]]
    ) -> None:
        """Publish many, as ``publish`` does each, and wake the I/O thread once."""
        self.portal.post_all(self.outbound.publish, requests)

    def consume(self) -> Link:
        """The link to consume on, started at the first call."""
        if not self._consuming_started:
            self._consuming_started = True
            self.portal.post(self.consuming.start)
        return self.consuming

    def close(self) -> None:
        """Close both connections and end the I/O thread; blocks for at most a few seconds."""
        if self.pid != os.getpid():
            return
        # A broker that does not answer must not keep the process.
        with contextlib.suppress(TimeoutError):
            self.portal.submit(self._close()).result(timeout=5)
        self.portal.close()

    async def _close(self) -> None:
        try:
            await self.publishing.close()
        finally:
            self.outbound.close()
        if self._consuming_started:
            await self.consuming.close()
