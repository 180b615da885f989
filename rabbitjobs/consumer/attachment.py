"""A consumer's hold on its queue: a subscription on the I/O thread, spoken to from the job loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import timedelta

from rabbitjobs import events
from rabbitjobs.clock import now
from rabbitjobs.wire.mailbox import Mailbox
from rabbitjobs.wire.session import Session
from rabbitjobs.wire.subscription import Handed, State, Subscription

# So often the I/O thread looks itself for what was settled on a loop that a job then blocked.
BLOCKED_SECONDS = 0.5


class Attachment:
    """Subscribes to the broker's ``queue`` and says as ``name`` how it stands with it.

    ``take`` gets each message on the loop that ``start`` was called on; it must end in exactly one
    ``ack`` or ``nack``. At most ``prefetch`` messages are out at a time. ``takes_turns``: the queue
    has a single active consumer. ``lost`` hears, on that loop too, that what is out is not ours any
    more: the broker gives it to others. ``timeout`` is the consumer timeout to ask for: RabbitMQ
    4.3 takes it before that of a policy, older ones ignore it. Nothing here blocks.
    """

    def __init__(
        self,
        *,
        name: str,
        queue: str,
        session: Session,
        prefetch: int,
        take: Callable[[Handed], None],
        bus: events.Bus,
        takes_turns: bool = False,
        lost: Callable[[], None] = lambda: None,
        timeout: timedelta | None = None,
    ) -> None:
        self.state: State = "waiting"
        self.reason = "not connected yet"
        self._name = name
        self._queue = queue
        self._session = session
        self._prefetch = prefetch
        self._take = take
        self._bus = bus
        self._takes_turns = takes_turns
        self._lost = lost
        self._arguments = None if timeout is None else _timeout_argument(timeout)
        self._started = False
        self._subscription: Subscription | None = None
        self._settled: deque[Handed] = deque()
        self._looking: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Subscribe; returns at once, ``state`` says when it consumes."""
        self._started = True
        self._loop = asyncio.get_running_loop()
        mailbox = Mailbox(self._loop)
        link = self._session.consume()

        def subscribe() -> None:
            self._subscription = Subscription(
                link,
                self._queue,
                prefetch=self._prefetch,
                deliver=lambda batch: mailbox.post_all(self._take, zip(batch)),
                changed=lambda state, reason: mailbox.post(self._changed, state, reason),
                arguments=self._arguments,
                takes_turns=self._takes_turns,
            )
            self._look_for_settled()

        self._session.portal.post(subscribe)

    def _changed(self, state: State, reason: str) -> None:
        if state in ("waiting", "failed"):
            self._lost()
        if (state, reason) != (self.state, self.reason):
            self.state, self.reason = state, reason
            self._bus.emit(
                events.ConsumerChanged(at=now(), queue=self._name, state=state, reason=reason)
            )

    def ack(self, handed: Handed) -> None:
        """The message is settled.

        The broker hears at once of all that one turn of the loop settles; where a job then blocks
        the loop, within half a second.
        """
        # Waking the I/O thread is a system call, and waking up is one there: together they cost as
        # much as a small job. Posted one by one, every second or third ack did it.
        self._settled.append(handed)
        if len(self._settled) == 1:
            self._loop.call_soon(self._session.portal.post, self._ack_settled)

    def nack(self, handed: Handed) -> None:
        """Give the message back to the queue."""
        assert self._subscription is not None
        self._session.portal.post(self._subscription.nack, handed)

    async def stop(self) -> bool:
        """Take nothing more; ``False`` if it never started, and there is nothing to finish."""
        if not self._started:
            return False
        # Asked for there: a start that is still on its way to the I/O thread comes before this.
        await self._session.portal.run(self._stop())
        return True

    async def finish(self) -> None:
        """Send what was acked and wait until the broker has taken it in; call it after ``stop``."""
        await self._session.portal.run(self._finish())

    # --- on the I/O thread ----------------------------------------------------------------------

    def _ack_settled(self) -> None:
        assert self._subscription is not None
        while self._settled:
            self._subscription.ack(self._settled.popleft())

    def _look_for_settled(self) -> None:
        loop = self._session.portal.loop
        # First: should an ack fail, those behind it are not left lying, nor is any later one.
        self._looking = loop.call_later(BLOCKED_SECONDS, self._look_for_settled)
        self._ack_settled()

    async def _stop(self) -> None:
        assert self._subscription is not None
        await self._subscription.stop()

    async def _finish(self) -> None:
        assert self._subscription is not None
        if self._looking is not None:
            self._looking.cancel()
        self._ack_settled()
        await self._subscription.finish()


def _timeout_argument(timeout: timedelta) -> dict[str, int]:
    return {"x-consumer-timeout": int(timeout.total_seconds() * 1000)}
