"""The live tail: workers broadcast their events, anybody may watch.

Named exceptions from "mandatory and confirmed": an event that nobody hears is dropped by the
broker, and what does not fit the buffer is counted, not waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable

import msgspec

from rabbitjobs import events
from rabbitjobs.message.properties import Properties
from rabbitjobs.topology import names
from rabbitjobs.wire.protocol import Outcome, Outgoing, Rejected, Wire
from rabbitjobs.wire.session import Session
from rabbitjobs.wire.subscription import Handed, State, Subscription

# Answers to remote control travel over the same exchange, by other keys.
KEY = "events"
BATCH_SECONDS = 0.1
BATCH = 500
BUFFER = 5000
QUIET_SECONDS = 1.0
# Whoever begins to watch is heard by every worker after this long.
HEARD_SECONDS = QUIET_SECONDS + 0.25
_encoder = msgspec.json.Encoder()


class Batch(msgspec.Struct, frozen=True):
    """What one message of the tail holds: who, how many were dropped before it, and the events."""

    worker: str
    dropped: int
    events: list[events.AnyEvent]


_batches = msgspec.json.Decoder(Batch)


class Broadcaster:
    """Sends the events of one bus to the events exchange, in batches, off the caller's thread.

    Batches are mandatory, so that the broker says when nobody watches: then for ``QUIET_SECONDS``
    no event is built for this, and the first one after that asks again.
    """

    def __init__(self, bus: events.Bus, session: Session, *, namespace: str, worker: str) -> None:
        self._session = session
        self._exchange = names.events_exchange(namespace)
        self._worker = worker
        self._buffer: deque[events.Event] = deque()
        self._dropped = 0
        self._planned = False
        self._quiet = False
        self._unsure = True
        self._bus = bus
        bus.listen(self.hear)

    def hear(self, event: events.Event) -> None:
        """Send an event soon; one that happened before this was made, for example."""
        last = isinstance(event, events.WorkerStopped)
        if self._quiet and not last:
            return
        if len(self._buffer) >= BUFFER:
            self._dropped += 1
            return
        self._buffer.append(event)
        if last:  # connections are closed next
            self._session.portal.post(self._send)
        elif not self._planned:
            self._planned = True
            after, self._unsure = 0.0 if self._unsure else BATCH_SECONDS, False
            loop = self._session.portal.loop
            self._session.portal.post(lambda: loop.call_later(after, self._send))

    def _send(self) -> None:
        self._planned = False
        while self._buffer:
            batch = [self._buffer.popleft() for _ in range(min(BATCH, len(self._buffer)))]
            dropped, self._dropped = self._dropped, 0
            body = _encoder.encode({"worker": self._worker, "dropped": dropped, "events": batch})
            properties = Properties(
                message_id=os.urandom(8).hex(), content_type="application/json", delivery_mode=1
            )
            self._session.outbound.fire(
                Outgoing(self._exchange, KEY, properties, body, mandatory=True), self._sent
            )

    def _sent(self, outcome: Outcome) -> None:
        if isinstance(outcome, Rejected) and outcome.reason == "unroutable" and not self._quiet:
            self._quiet = True
            self._bus.want_each(self.hear, False)
            self._buffer.clear()
            self._dropped = 0
            self._session.portal.loop.call_later(QUIET_SECONDS, self._ask_again)

    def _ask_again(self) -> None:
        self._unsure, self._quiet = True, False
        self._bus.want_each(self.hear, True)


class LateBroadcaster:
    """The same for a process that seldom has an event: it connects at the first, and holds it."""

    def __init__(
        self, bus: events.Bus, session: Callable[[], Session], *, namespace: str, worker: str
    ) -> None:
        self._session = session
        self._namespace = namespace
        self._worker = worker
        self._held: deque[events.Event] = deque(maxlen=BUFFER)
        self._broadcaster: Broadcaster | None = None
        self._connecting = False
        self._lock = threading.Lock()
        bus.listen(self._hear, each=False)

    def _hear(self, event: events.Event) -> None:
        with self._lock:
            if self._broadcaster is not None:
                self._broadcaster.hear(event)
                return
            self._held.append(event)
            if self._connecting:
                return
            self._connecting = True
        session = self._session()
        session.portal.post(session.publishing.listen, self)

    def link_up(self, wire: Wire, generation: int) -> None:
        """See ``LinkListener``: what was held is sent."""
        with self._lock:
            if self._broadcaster is not None:
                return
            # Listening on a bus of its own: it hears all by us.
            self._broadcaster = Broadcaster(
                events.Bus(), self._session(), namespace=self._namespace, worker=self._worker
            )
            for event in self._held:
                self._broadcaster.hear(event)
            self._held.clear()

    def link_down(self, reason: str) -> None:
        """See ``LinkListener``."""

    def link_blocked(self, blocked: bool) -> None:
        """See ``LinkListener``."""


class Watcher:
    """Feeds ``show`` with every batch, on the I/O thread; subscribes anew after a reconnect.

    ``ready`` is set once no event is missed any more.
    """

    _subscription: Subscription

    def __init__(self, session: Session, namespace: str, show: Callable[[Batch], None]) -> None:
        self._exchange = names.events_exchange(namespace)
        self._queue = f"{namespace}.control.tail.{os.urandom(6).hex()}"
        self._show = show
        self._loop = session.portal.loop
        self._soon: asyncio.TimerHandle | None = None
        self.ready = threading.Event()
        link = session.consume()

        def subscribe() -> None:
            self._subscription = Subscription(
                link,
                self._queue,
                prefetch=100,
                deliver=self._deliver,
                changed=self._changed,
                prepare=self._declare,
            )

        session.portal.post(subscribe)

    async def _declare(self, wire: Wire) -> None:
        await wire.temporary_queue(self._queue, exchange=self._exchange, keys=(KEY,))

    def _changed(self, state: State, reason: str) -> None:
        """Events of a gap are not seen."""
        if self._soon is not None:
            self._soon.cancel()
        if state == "consuming":
            self._soon = self._loop.call_later(HEARD_SECONDS, self.ready.set)
        else:
            self.ready.clear()

    def _deliver(self, arrived: list[Handed]) -> None:
        for handed in arrived:
            self._subscription.ack(handed)
            # An event of a newer release is not shown.
            with contextlib.suppress(msgspec.MsgspecError):
                self._show_safely(_batches.decode(handed.delivery.body))

    def _show_safely(self, batch: Batch) -> None:
        try:
            self._show(batch)
        except Exception as error:  # unacked, the batches behind it would fill the prefetch
            self._loop.call_exception_handler(
                {"message": "showing a batch of events failed", "exception": error}
            )
