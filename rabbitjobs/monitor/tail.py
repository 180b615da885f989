"""The live tail: workers broadcast their events, anybody may watch.

Named exceptions from "mandatory and confirmed": an event that nobody hears is dropped by the
broker, and what does not fit the buffer is counted, not waited for.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable

import msgspec

from rabbitjobs import events
from rabbitjobs.message.properties import Properties
from rabbitjobs.topology import names
from rabbitjobs.wire.protocol import Consumer, Delivery, Outgoing, Wire
from rabbitjobs.wire.session import Session

BATCH_SECONDS = 0.1
BATCH = 500
BUFFER = 5000
_encoder = msgspec.json.Encoder()


class Batch(msgspec.Struct, frozen=True):
    """What one message of the tail holds: who, how many were dropped before it, and the events."""

    worker: str
    dropped: int
    events: list[events.AnyEvent]


_batches = msgspec.json.Decoder(Batch)


class Broadcaster:
    """Sends the events of one bus to the events exchange, in batches, off the caller's thread."""

    def __init__(self, bus: events.Bus, session: Session, *, namespace: str, worker: str) -> None:
        self._session = session
        self._exchange = names.events_exchange(namespace)
        self._worker = worker
        self._buffer: deque[events.Event] = deque()
        self._dropped = 0
        self._planned = False
        bus.listen(self._on_event)

    def _on_event(self, event: events.Event) -> None:
        if len(self._buffer) >= BUFFER:
            self._dropped += 1
            return
        self._buffer.append(event)
        if isinstance(event, events.WorkerStopped):  # connections are closed next
            self._session.portal.post(self._send)
        elif not self._planned:
            self._planned = True
            loop = self._session.portal.loop
            self._session.portal.post(lambda: loop.call_later(BATCH_SECONDS, self._send))

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
                Outgoing(self._exchange, "events", properties, body, mandatory=False)
            )


class Watcher:
    """Feeds ``show`` with every batch, on the I/O thread; subscribes anew after a reconnect."""

    def __init__(self, session: Session, namespace: str, show: Callable[[Batch], None]) -> None:
        self._exchange = names.events_exchange(namespace)
        self._queue = f"{namespace}.control.tail.{os.urandom(6).hex()}"
        self._show = show
        self._task: asyncio.Task[None] | None = None
        self.ready = threading.Event()
        link = session.consume()
        session.portal.post(link.listen, self)

    def link_up(self, wire: Wire, generation: int) -> None:
        """Declare a queue that dies with the connection, and consume it."""
        self._task = asyncio.get_running_loop().create_task(self._subscribe(wire))

    def link_down(self, reason: str) -> None:
        """Events of the gap are not seen."""
        self.ready.clear()

    def link_blocked(self, blocked: bool) -> None:
        """Alarms do not concern watching."""

    async def _subscribe(self, wire: Wire) -> None:
        await wire.temporary_queue(self._queue, exchange=self._exchange, keys=("#",))
        consumer: Consumer | None = None

        def deliver(delivery: Delivery) -> None:
            if consumer is not None:
                consumer.ack(delivery.tag)
            try:
                self._show(_batches.decode(delivery.body))
            except msgspec.MsgspecError:
                return  # an event of a newer release

        consumer = await wire.consume(
            self._queue, prefetch=100, deliver=deliver, cancelled=lambda _: None
        )
        self.ready.set()
