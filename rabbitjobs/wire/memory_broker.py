"""A broker in memory, for tests: it routes, holds, expires and dead-letters as RabbitMQ 4.3 does.

It keeps no promise that outlives the process. What it does keep is the behaviour that a job
system meets: routing through direct, topic and fanout exchanges and their alternates, fixed TTLs
that expire at the head only, dead lettering with ``x-death``, length limits, the delivery limit,
strict priorities, redelivery in the old order, and consumers cancelled when their queue goes.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from rabbitjobs.errors import ChannelClosed
from rabbitjobs.wire.memory_queue import Entry, Queue, Subscriber, is_cycle, with_death
from rabbitjobs.wire.memory_topology import MemoryTopology
from rabbitjobs.wire.protocol import CONFIRMED, Outcome, Outgoing, Rejected

# RabbitMQ 4's defaults.
DELIVERY_LIMIT = 20
MAX_MESSAGE_SIZE = 16 * 1024 * 1024
# How soon refused dead lettering is tried again; our private nodes are set to the same.
_HELD_SECONDS = 5.0
_KEPT = 10_000


class Connected(Protocol):
    """What the broker asks of a connection; it may call from any thread."""

    is_open: bool

    def lose(self, reason: str) -> None:
        """The connection is cut."""
        ...

    def block(self, blocked: bool) -> None:
        """An alarm holds back publishing, or no longer does."""
        ...

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call back on the connection's event loop."""
        ...


class MemoryBroker(MemoryTopology):
    """The broker: declare on it directly, connect ``MemoryWire``s to it, break it at will.

    ``clock`` gives seconds and never jumps back; ``advance`` moves the broker's time ahead of it
    without waiting. Every method may be called from any thread.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, version: str = "4.3.0"
    ) -> None:
        super().__init__()
        self.version = version
        self.max_message_size = MAX_MESSAGE_SIZE
        self.published: deque[Outgoing] = deque(maxlen=_KEPT)
        self.discarded = 0
        self.blocked = False
        self.running = True
        self.confirming = True
        self._clock = clock
        self._ahead = 0.0
        self._order = 0
        self._wake_at: float | None = None
        self._touched: dict[str, Queue] = {}
        self._connections: list[Connected] = []

    # --- what a test looks at --------------------------------------------------------------

    def depth(self, queue: str) -> tuple[int, int]:
        """Ready and unacked messages. Raises ``ChannelClosed`` (404)."""
        with self.changed:
            self._tick()
            found = self.queue(queue)
            return len(found.ready), found.unacked

    def messages(self, queue: str) -> tuple[Entry, ...]:
        """The ready messages, head first; they stay where they are."""
        with self.changed:
            self._tick()
            return tuple(entry for _, _, entry in sorted(self.queue(queue).ready))

    def purge(self, queue: str) -> int:
        """Throw the ready messages away; returns how many."""
        with self.changed:
            found = self.queue(queue)
            count = len(found.ready)
            found.ready.clear()
            self.changed.notify_all()
            return count

    def wait_until(self, predicate: Callable[[MemoryBroker], bool], timeout: float = 10) -> bool:
        """Block this thread until ``predicate`` holds; false after ``timeout`` seconds.

        Not for the thread that runs a wire's event loop: nothing could happen meanwhile.
        """
        with self.changed:
            return self.changed.wait_for(lambda: predicate(self), timeout)

    def now(self) -> float:
        """The broker's time in seconds."""
        return self._clock() + self._ahead

    # --- what a test breaks ----------------------------------------------------------------

    def advance(self, seconds: float) -> None:
        """Let time pass at once: what expires meanwhile is dead-lettered in its order."""
        with self.changed:
            target = self.now() + seconds
            while (due := self._next_due()) is not None and due <= target:
                self._ahead += max(0.0, due - self.now())
                self._tick()
            self._ahead += max(0.0, target - self.now())
            self._tick()

    def drop_connections(self, reason: str = "CONNECTION_FORCED - dropped") -> None:
        """Cut every connection as a crash would: unacked messages go back, confirms are lost."""
        with self.changed:
            cut = list(self._connections)
            # All at once, so that nothing is handed from one dying connection to the next.
            for connection in cut:
                connection.is_open = False
            for connection in cut:
                connection.lose(reason)

    def stop(self) -> None:
        """Cut every connection and refuse new ones; messages stay."""
        self.running = False
        self.drop_connections("CONNECTION_FORCED - the broker stops")

    def start(self) -> None:
        """Take connections again after ``stop``."""
        self.running = True

    def block(self) -> None:
        """Raise an alarm: publishes wait, consuming goes on."""
        self._set_blocked(True)

    def unblock(self) -> None:
        """Clear the alarm: what waits is published."""
        self._set_blocked(False)

    def _set_blocked(self, blocked: bool) -> None:
        with self.changed:
            self.blocked = blocked
            for connection in list(self._connections):
                connection.block(blocked)

    # --- what a wire calls -----------------------------------------------------------------

    def connect(self, connection: Connected) -> None:
        """A wire opens its connection."""
        with self.changed:
            self._connections.append(connection)
            self._wake_at = None
            self._tick()

    def disconnect(self, connection: Connected) -> None:
        """A connection ends: its exclusive queues go with it."""
        with self.changed:
            if connection in self._connections:
                self._connections.remove(connection)
            for queue in [each for each in self._queues.values() if each.owner is connection]:
                self.delete_queue(queue.name)
            self._wake_at = None
            self._arm()

    def publish(self, message: Outgoing) -> Outcome:
        """Take one message in. ``Rejected`` with reason ``refused`` closes the channel."""
        with self.changed:
            refusal = self._refusal(message)
            if refusal is not None:
                return refusal
            targets = self._route(message.exchange, message.routing_key)
            if not targets:
                return Rejected("unroutable", "312 NO_ROUTE") if message.mandatory else CONFIRMED
            self.published.append(message)
            taken = [self._enqueue(queue, message) for queue in targets]
            self._tick()
            return CONFIRMED if all(taken) else Rejected("nacked", "a queue refused it: full")

    def subscribe(self, queue: Queue, consumer: Subscriber) -> None:
        """Start to deliver to a consumer."""
        with self.changed:
            queue.consumers.append(consumer)
            self._touch(queue)

    def unsubscribe(self, queue: Queue, consumer: Subscriber) -> None:
        """Deliver no more; what the consumer holds stays with it until it is settled."""
        with self.changed:
            if consumer in queue.consumers:
                queue.consumers.remove(consumer)
            self._touch(queue)

    def acked(self, queue: Queue, count: int) -> None:
        """Messages are done with."""
        with self.changed:
            queue.unacked -= count
            self._touch(queue)

    def give_back(self, queue: Queue, entries: Iterable[Entry], *, counted: bool) -> None:
        """Requeue to the front; one past the delivery limit is dead-lettered instead.

        As on RabbitMQ 4.3 a lost consumer counts towards the limit, and a nack does not.
        """
        with self.changed:
            if self._queues.get(queue.name) is not queue:
                return
            limit = int(queue.argument("delivery-limit", DELIVERY_LIMIT))
            for entry in entries:
                queue.unacked -= 1
                entry.failed += counted
                if queue.is_quorum() and 0 <= limit < entry.failed:
                    self._dead_letter(queue, entry, "delivery_limit")
                else:
                    queue.push(entry)
            self._touch(queue)

    def reject(self, queue: Queue, entry: Entry) -> None:
        """Dead-letter a message that its consumer refused for good."""
        with self.changed:
            if self._queues.get(queue.name) is queue:
                queue.unacked -= 1
                self._dead_letter(queue, entry, "rejected")
                self._touch(queue)

    # --- inside ----------------------------------------------------------------------------

    def _refusal(self, message: Outgoing) -> Rejected | None:
        try:
            exchange = self._router.exchange(message.exchange)
        except ChannelClosed as missing:
            return Rejected("refused", missing.text, missing.code)
        if exchange.internal:
            return Rejected("refused", f"ACCESS_REFUSED - '{message.exchange}' is internal", 403)
        if len(message.body) > self.max_message_size:
            text = f"PRECONDITION_FAILED - larger than {self.max_message_size} bytes"
            return Rejected("refused", text, 406)
        return None

    def _route(self, exchange: str, key: str) -> list[Queue]:
        names = self._router.route(exchange, key)
        return [self._queues[name] for name in names if name in self._queues]

    def _enqueue(self, queue: Queue, message: Outgoing | Entry) -> bool:
        if queue.is_full():
            if queue.argument("overflow", "drop-head") != "drop-head":
                return False
            self._dead_letter(queue, queue.pop(), "maxlen")
        self._order += 1
        ttl = queue.argument("message-ttl")
        entry = Entry(
            self._order,
            queue.level(message.properties.priority),
            message.exchange,
            message.routing_key,
            message.properties,
            message.body,
            None if ttl is None else self.now() + ttl / 1000,
        )
        queue.push(entry)
        self._touched[queue.name] = queue
        return True

    def _dead_letter(self, queue: Queue, entry: Entry, reason: str) -> None:
        exchange = queue.argument("dead-letter-exchange")
        if exchange is None:
            self.discarded += 1
            return
        key = queue.argument("dead-letter-routing-key", entry.routing_key)
        properties = with_death(entry, queue.name, reason, int(time.time()))
        dead = msgspec.structs.replace(
            entry, exchange=exchange, routing_key=key, properties=properties
        )
        targets = [
            each for each in self._route(exchange, key) if not is_cycle(properties, each.name)
        ]
        taken = [self._enqueue(target, dead) for target in targets]
        if taken and all(taken):
            return
        if queue.argument("dead-letter-strategy") == "at-least-once":
            queue.held.append((self.now() + _HELD_SECONDS, entry, reason))
        else:
            self.discarded += 1

    def _touch(self, queue: Queue) -> None:
        self._touched[queue.name] = queue
        self._tick()

    def _tick(self) -> None:
        """Expire what is due, retry what was held, then deliver what can be delivered."""
        busy = True
        while busy:
            busy = False
            for queue in list(self._timed.values()):
                busy = self._expire(queue) or busy
        while self._touched:
            _, queue = self._touched.popitem()
            if self._queues.get(queue.name) is queue:
                self._deliver(queue)
        self._arm()
        self.changed.notify_all()

    def _expire(self, queue: Queue) -> bool:
        """Dead-letter what is due; true if anything was: another queue may now be due."""
        now = self.now()
        held = [each for each in queue.held if each[0] <= now]
        if held:
            queue.held = [each for each in queue.held if each[0] > now]
        due = [(entry, reason) for _, entry, reason in held]
        while (expires := queue.head_expires()) is not None and expires <= now:
            due.append((queue.pop(), "expired"))
        for entry, reason in due:
            self._dead_letter(queue, entry, reason)
        return bool(due)

    def _deliver(self, queue: Queue) -> None:
        while queue.ready and (consumer := queue.next_consumer()) is not None:
            entry = queue.pop()
            queue.unacked += 1
            consumer.take(entry)
            entry.acquired += 1

    def _next_due(self) -> float | None:
        times = [each[0] for queue in self._timed.values() for each in queue.held]
        heads = [queue.head_expires() for queue in self._timed.values()]
        return min([*times, *(each for each in heads if each is not None)], default=None)

    def _arm(self) -> None:
        """Have the next expiry happen by itself, on the loop of a connection that is there."""
        due = self._next_due()
        if due is None or not self._connections:
            return
        if self._wake_at is None or due < self._wake_at:
            self._wake_at = due
            self._connections[-1].later(max(0.0, due - self.now()), self._wake)

    def _wake(self) -> None:
        with self.changed:
            self._wake_at = None
            self._tick()
