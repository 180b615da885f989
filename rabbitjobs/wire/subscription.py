"""A consumer that outlives connections: re-subscribes, coalesces acks, drops stale ones.

It attaches passively: a queue that is gone is reported and waited for, never recreated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

import msgspec
import tenacity

from rabbitjobs.errors import ChannelClosed, ConnectionLost
from rabbitjobs.wire.acks import AckWindow
from rabbitjobs.wire.link import Link
from rabbitjobs.wire.protocol import Consumer, Delivery, Wire

# A settled message behind a slow one is acked by itself after this long at the latest.
HOLD_SECONDS = 0.05
# A consumer that is taken away sooner than this after its start must not be started in a hot loop.
SHORT_LIFE_SECONDS = 2.0
# What the broker gets to answer when this process stops.
STOP_SECONDS = 5.0
# So often a consumer that got nothing though it has room looks whether something is ready for it;
# two such looks in a row, and the broker (or something between) has forgotten it.
LOOK_SECONDS = 15.0
LOOKS_UNTIL_STUCK = 2
# After so many looks at an empty queue an idle consumer subscribes anew; after the first one where
# there is another node to go to.
LOOKS_UNTIL_ANEW = 4
# What the broker gets to answer ``basic.consume``: a node that is parted from the majority of its
# cluster never does, and keeps its connections alive all the same.
CONSUME_SECONDS = 5.0

State = Literal["waiting", "consuming", "failed", "stopped"]


class Handed(msgspec.Struct, frozen=True, gc=False):
    """A delivery together with the epoch of the subscription in which it came."""

    delivery: Delivery
    epoch: int


class Subscription:
    """Consumes one queue over a link with at most ``prefetch`` unacked messages.

    Everything is called on the I/O loop. ``deliver`` gets the messages that came together; each
    must end in exactly one ``ack`` or ``nack``. ``changed`` hears the state and why. ``prepare``
    runs before each subscribing: it makes anew a queue that died with its connection.

    A consumer that gets nothing, though messages are ready and it has room, is built anew; if that
    does not help, so is the connection. One that holds nothing and gets nothing subscribes anew now
    and then: only a leader answers that, while a node without its majority says that none is ready.
    ``takes_turns`` (a queue with a single active consumer):
    ready messages prove nothing while there are other consumers.
    """

    def __init__(
        self,
        link: Link,
        queue: str,
        *,
        prefetch: int,
        deliver: Callable[[list[Handed]], None],
        changed: Callable[[State, str], None],
        arguments: Mapping[str, Any] | None = None,
        takes_turns: bool = False,
        prepare: Callable[[Wire], Awaitable[object]] | None = None,
    ) -> None:
        self._link = link
        self._queue = queue
        self._prefetch = prefetch
        self._deliver = deliver
        self._changed = changed
        self._arguments = arguments
        self._takes_turns = takes_turns
        self._delivered = 0
        self._arrived: list[Handed] = []
        self._rebuilt: tuple[Wire, int] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._prepare = prepare
        self._consumer: Consumer | None = None
        self._window = AckWindow()
        self._epoch = 0
        self._since = 0.0
        self._task: asyncio.Task[None] | None = None
        self._releasing: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._flush_soon = False
        self._flush_later: asyncio.TimerHandle | None = None
        self.stale = 0
        link.listen(self)

    def link_up(self, wire: Wire, generation: int) -> None:
        """Subscribe anew, at full prefetch."""
        if not self._stopping:
            self._forget()
            self._task = asyncio.get_running_loop().create_task(self._attach(wire))

    def link_down(self, reason: str) -> None:
        """What was delivered and not acked will be delivered again."""
        self._forget()
        if self._task is not None:
            self._task.cancel()
        if not self._stopping:
            self._changed("waiting", reason)

    def link_blocked(self, blocked: bool) -> None:
        """Alarms do not concern consuming."""

    def _forget(self) -> None:
        self._epoch += 1
        self._consumer = None
        self._window = AckWindow()
        self._look_away()

    def _look_away(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None

    async def _attach(self, wire: Wire, *, after: float = 0.0) -> None:
        if after:
            await asyncio.sleep(after)
        retrying = tenacity.AsyncRetrying(
            wait=tenacity.wait_random_exponential(multiplier=0.5, max=15),
            retry=tenacity.retry_if_exception_type(ChannelClosed),
        )
        try:
            async for attempt in retrying:
                with attempt:
                    await self._subscribe(wire)
        except ConnectionLost:
            return  # the link brings the next connection

    async def _subscribe(self, wire: Wire) -> None:
        epoch = self._epoch = self._epoch + 1
        self._window = AckWindow()
        try:
            if self._prepare is not None:
                await self._prepare(wire)
            async with asyncio.timeout(CONSUME_SECONDS):
                consumer = await wire.consume(
                    self._queue,
                    prefetch=self._prefetch,
                    deliver=lambda delivery: self._on_delivery(delivery, epoch),
                    cancelled=lambda reason: self._on_cancelled(wire, epoch, reason),
                    arguments=self._arguments,
                )
        except TimeoutError:
            if wire is self._link.wire:
                self._link.renew(f"no answer to basic.consume within {CONSUME_SECONDS:g} s")
            return
        except ChannelClosed as error:
            self._changed("failed", str(error))
            raise
        if epoch != self._epoch:
            self._release(consumer)  # it was cancelled before we heard that it had begun
        else:
            self._consumer = consumer
            loop = asyncio.get_running_loop()
            self._since = loop.time()
            self._changed("consuming", "")
            self._watching = loop.create_task(self._watch(wire))
            self._flush()  # what was settled before the broker's answer came

    def _on_delivery(self, delivery: Delivery, epoch: int) -> None:
        if epoch == self._epoch:
            self._delivered += 1
            self._window.delivered(delivery.tag)
            if not self._arrived:
                asyncio.get_running_loop().call_soon(self._hand_over)
            self._arrived.append(Handed(delivery, epoch))

    def _hand_over(self) -> None:
        """All that one read brought goes to the other thread at once.

        Woken by the first of them that thread takes the interpreter's lock, and the reading stops.
        """
        arrived = [handed for handed in self._arrived if handed.epoch == self._epoch]
        self._arrived.clear()
        if arrived:
            self._deliver(arrived)

    def _on_cancelled(self, wire: Wire, epoch: int, reason: str) -> None:
        if epoch != self._epoch or self._stopping:
            return
        self._let_go()
        if wire is self._link.wire:
            self._changed("failed", reason)
            loop = asyncio.get_running_loop()
            short = loop.time() - self._since < SHORT_LIFE_SECONDS
            pause = SHORT_LIFE_SECONDS / 2 if short else 0.0
            self._task = loop.create_task(self._attach(wire, after=pause))

    def _let_go(self) -> None:
        self._flush()
        self._flush_rest()
        consumer = self._consumer
        self._forget()
        if consumer is not None:
            self._release(consumer)

    async def _watch(self, wire: Wire) -> None:
        delivered, looks, idle = self._delivered, 0, 0
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            before, delivered = delivered, self._delivered
            quiet = self._hungry(before)
            ready = await self._ready(wire) if quiet else 0
            idle = idle + 1 if quiet and not ready and not len(self._window) else 0
            if idle >= (1 if self._link.hosts > 1 else LOOKS_UNTIL_ANEW) and self._hungry(before):
                self._subscribe_again(wire)
                return
            looks = looks + 1 if ready and self._hungry(before) else 0
            if looks >= LOOKS_UNTIL_STUCK:
                self._on_stuck(wire, ready, looks * LOOK_SECONDS)
                return

    def _subscribe_again(self, wire: Wire) -> None:
        self._let_go()
        self._attach_again(wire)

    def _attach_again(self, wire: Wire) -> None:
        self._task = asyncio.get_running_loop().create_task(self._attach(wire))

    def _hungry(self, before: int) -> bool:
        """Whether there is room and nothing has come since ``before`` messages had come."""
        return self._delivered == before and len(self._window) < self._prefetch

    async def _ready(self, wire: Wire) -> int:
        try:
            async with asyncio.timeout(STOP_SECONDS):
                ready, consumers = await wire.inspect_queue(self._queue)
        except (ConnectionLost, ChannelClosed, TimeoutError):
            return 0  # a silent connection is found by its heartbeats, a missing queue by itself
        return 0 if self._takes_turns and consumers > 1 else ready

    def _on_stuck(self, wire: Wire, ready: int, seconds: float) -> None:
        free = self._prefetch - len(self._window)
        reason = (
            f"stuck: {ready} ready, {free} of {self._prefetch} slots free, and nothing delivered "
            f"for {seconds:g} s"
        )
        self._let_go()
        if self._rebuilt == (wire, self._delivered):
            self._link.renew(f"{reason}, by a new consumer either")
            return
        self._rebuilt = (wire, self._delivered)
        self._changed("failed", f"{reason}; the consumer is built anew")
        self._attach_again(wire)

    def _release(self, consumer: Consumer) -> None:
        """The broker took this consumer away, but its channel may still hold what was not acked.

        Until that channel is closed nobody else gets those messages.
        """
        task = asyncio.get_running_loop().create_task(_close(consumer))
        self._releasing.add(task)
        task.add_done_callback(self._releasing.discard)

    def ack(self, handed: Handed) -> None:
        """The job is settled. An ack from an earlier epoch does nothing: it came back already."""
        if handed.epoch != self._epoch:
            self.stale += 1
        elif self._window.settle(handed.delivery.tag) and not self._flush_soon:
            self._flush_soon = True
            asyncio.get_running_loop().call_soon(self._flush)

    def nack(self, handed: Handed) -> None:
        """Give it back to the queue."""
        if handed.epoch != self._epoch:
            self.stale += 1
        elif self._window.remove(handed.delivery.tag) and self._consumer is not None:
            self._consumer.nack(handed.delivery.tag)

    def _flush(self) -> None:
        self._flush_soon = False
        window, consumer = self._window, self._consumer
        if consumer is None:
            return
        last = window.prefix()
        if last is not None:
            consumer.ack(last, multiple=True)
        if window.held * 2 >= self._prefetch:
            self._flush_rest()
        elif window.held and self._flush_later is None:
            loop = asyncio.get_running_loop()
            self._flush_later = loop.call_later(HOLD_SECONDS, self._flush_rest)

    def _flush_rest(self) -> None:
        if self._flush_later is not None:
            self._flush_later.cancel()
            self._flush_later = None
        if self._consumer is not None:
            for tag in self._window.rest():
                self._consumer.ack(tag)

    async def stop(self) -> None:
        """Take nothing more; what was delivered can still be acked or given back."""
        self._stopping = True
        self._look_away()
        self._link.forget(self)
        if self._task is not None and not self._task.done():
            self._task.cancel()
        if self._consumer is not None:
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await self._consumer.cancel()
            except (ConnectionLost, ChannelClosed, TimeoutError):
                self._forget()

    async def finish(self) -> None:
        """Send every held ack, wait until the broker has taken them in, close the channel."""
        consumer = self._consumer
        if consumer is not None:
            self._flush()
            self._flush_rest()
            await _close(consumer)
        self._forget()
        self._changed("stopped", "")


async def _close(consumer: Consumer) -> None:
    """Acks just before ``channel.close`` can be lost on a quorum queue; a round trip before it
    makes them count."""
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await consumer.sync()
            await consumer.close()
    except (ConnectionLost, ChannelClosed, TimeoutError):
        return  # what was not acked comes again
