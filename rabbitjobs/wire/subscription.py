"""A consumer that outlives connections: re-subscribes, coalesces acks, drops stale ones.

It attaches passively: a queue that is gone is reported and waited for, never recreated.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

import msgspec
import tenacity

from rabbitjobs.errors import ChannelClosed, ConnectionLost
from rabbitjobs.wire.acks import AckWindow
from rabbitjobs.wire.browsing import browsing
from rabbitjobs.wire.leaving import STOP_SECONDS, Leaver, close
from rabbitjobs.wire.link import Link
from rabbitjobs.wire.protocol import Consumer, Delivery, Wire

# A settled message behind a slow one is acked by itself after this long at the latest.
HOLD_SECONDS = 0.05
# A consumer that is taken away sooner than this after its start must not be started in a hot loop.
SHORT_LIFE_SECONDS = 2.0
# So often a consumer that got nothing though it has room looks whether something is ready for it;
# two such looks in a row, and the broker (or something between) has forgotten it.
LOOK_SECONDS = 15.0
LOOKS_UNTIL_STUCK = 2
# After so many looks at an empty queue an idle consumer subscribes anew; after the first one where
# there is another node to go to.
LOOKS_UNTIL_ANEW = 4
# What the broker gets to answer ``basic.consume`` or ``basic.cancel``: a node that is parted from
# the majority of its cluster never does, and keeps its connections alive all the same. Of a queue
# without a leader no node does, and after about a minute it ends the connection that asked (541,
# seen on 4.3.6).
CONSUME_SECONDS = 5.0
# A queue that did not answer so often in a row is asked on a connection of its own first, again
# and again, each time after a longer pause: only that connection is lost.
SILENT_UNTIL_APART = 2
LONGEST_PAUSE_SECONDS = 60.0

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
    ``takes_turns`` (one consumer is active): ready messages prove nothing beside other consumers.
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
        self._leaving: dict[int, Leaver] = {}
        self._silent = 0
        self._stopping = False
        self._flush_soon = False
        self._flush_later: asyncio.TimerHandle | None = None
        self.stale = 0
        link.listen(self)

    def link_up(self, wire: Wire, generation: int) -> None:
        """Subscribe anew, at full prefetch."""
        if not self._stopping:
            self._forget()
            self._attach_again(wire)

    def link_down(self, reason: str) -> None:
        """What was delivered and not acked will be delivered again."""
        self._forget()
        self._leaving.clear()
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
        await asyncio.sleep(after)
        retrying = tenacity.AsyncRetrying(
            wait=tenacity.wait_random_exponential(multiplier=0.5, max=15),
            retry=tenacity.retry_if_exception_type(ChannelClosed),
        )
        try:
            if self._silent >= SILENT_UNTIL_APART:
                await self._until_it_answers()
            async for attempt in retrying:
                with attempt:
                    await self._subscribe(wire)
        except ConnectionLost:
            return  # the link brings the next connection

    async def _until_it_answers(self) -> None:
        self._fail("the queue does not answer; it is asked on another connection")
        retrying = tenacity.AsyncRetrying(
            wait=tenacity.wait_exponential(CONSUME_SECONDS, max=LONGEST_PAUSE_SECONDS),
            retry=tenacity.retry_if_exception_type(ConnectionLost),
        )
        async for attempt in retrying:
            with attempt, contextlib.suppress(ChannelClosed):  # a refusal is an answer too
                async with (
                    self._link.another() as wire,
                    browsing(wire, self._queue, prefetch=1, idle=0.0),
                ):
                    pass

    async def _subscribe(self, wire: Wire) -> None:
        epoch = self._epoch = self._epoch + 1
        self._window = AckWindow()
        try:
            if self._prepare is not None:
                async with asyncio.timeout(CONSUME_SECONDS):
                    await self._prepare(wire)
            consumer = await self._consume(wire, epoch)
        except TimeoutError:
            self._unanswered(wire, "basic.consume")
            return
        except ChannelClosed as error:
            self._fail(str(error))
            raise
        if epoch != self._epoch:
            self._release(consumer)  # it was cancelled before we heard that it had begun
        else:
            self._consumer = consumer
            self._silent = 0
            loop = asyncio.get_running_loop()
            self._since = loop.time()
            self._changed("consuming", "")
            self._watching = loop.create_task(self._watch(wire))
            self._flush()  # what was settled or given back before the broker's answer came

    async def _consume(self, wire: Wire, epoch: int) -> Consumer:
        asked = asyncio.get_running_loop().create_task(
            wire.consume(
                self._queue,
                prefetch=self._prefetch,
                deliver=lambda delivery: self._on_delivery(delivery, epoch),
                cancelled=lambda reason: self._on_cancelled(wire, epoch, reason),
                arguments=self._arguments,
            )
        )
        try:
            async with asyncio.timeout(CONSUME_SECONDS):
                return await asyncio.shield(asked)
        except (TimeoutError, asyncio.CancelledError):
            asked.add_done_callback(self._on_late_answer)
            raise

    def _on_late_answer(self, asked: asyncio.Task[Consumer]) -> None:
        """Nobody waits for this consumer any more: open, it would keep its messages."""
        if not asked.cancelled() and asked.exception() is None:
            self._release(asked.result())

    def _unanswered(self, wire: Wire, asked: str) -> None:
        self._silent += 1
        if wire is self._link.wire:
            self._link.renew(f"no answer to {asked} within {CONSUME_SECONDS:g} s")

    def _on_delivery(self, delivery: Delivery, epoch: int) -> None:
        if epoch == self._epoch:
            self._delivered += 1
            self._window.delivered(delivery.tag)
            if not self._arrived:
                asyncio.get_running_loop().call_soon(self._hand_over)
            self._arrived.append(Handed(delivery, epoch))

    def _hand_over(self) -> None:
        # Together: woken by the first, the other thread takes the interpreter, and reading stops.
        ours = {self._epoch, *self._leaving}
        arrived, self._arrived = self._arrived, []
        if handed := [one for one in arrived if one.epoch in ours]:
            self._deliver(handed)

    def _on_cancelled(self, wire: Wire, epoch: int, reason: str) -> None:
        if epoch != self._epoch or self._stopping:
            return
        self._let_go()
        if wire is self._link.wire:
            self._fail(reason)
            lived = asyncio.get_running_loop().time() - self._since
            pause = SHORT_LIFE_SECONDS / 2 if lived < SHORT_LIFE_SECONDS else 0.0
            self._attach_again(wire, after=pause)

    def _let_go(self, *, quiet: bool = False) -> None:
        """``quiet``: it was cancelled by us; what came before the answer can still be settled."""
        self._flush()
        self._flush_rest()
        consumer, window, epoch = self._consumer, self._window, self._epoch
        self._forget()
        if consumer is not None and quiet and len(window):
            self._leaving[epoch] = Leaver(consumer, window, self._release)
        elif consumer is not None:
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
                self._task = asyncio.get_running_loop().create_task(self._subscribe_again(wire))
                return
            looks = looks + 1 if ready and self._hungry(before) else 0
            if looks >= LOOKS_UNTIL_STUCK:
                self._on_stuck(wire, ready, looks * LOOK_SECONDS)
                return

    async def _subscribe_again(self, wire: Wire) -> None:
        """Cancel first: whatever a closing channel holds counts as a failed delivery."""
        consumer, epoch = self._consumer, self._epoch
        assert consumer is not None
        try:
            async with asyncio.timeout(CONSUME_SECONDS):
                await consumer.cancel()
        except TimeoutError:
            self._unanswered(wire, "basic.cancel")
            return
        except (ConnectionLost, ChannelClosed):
            pass  # a channel that is gone has given back what it held
        if epoch == self._epoch:
            self._let_go(quiet=True)
            await self._attach(wire)

    def _attach_again(self, wire: Wire, *, after: float = 0.0) -> None:
        if self._task is not None:
            self._task.cancel()  # of two, the later would push out the other's living consumer
        self._task = asyncio.get_running_loop().create_task(self._attach(wire, after=after))

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
        self._fail(f"{reason}; the consumer is built anew")
        self._attach_again(wire)

    def _fail(self, reason: str) -> None:
        self._let_go_of_all()  # whoever hears of it takes everything that is out as lost
        self._changed("failed", reason)

    def _let_go_of_all(self) -> None:
        for leaver in self._leaving.values():
            leaver.leave()
        self._leaving.clear()

    def _release(self, consumer: Consumer) -> None:
        """Nobody else gets what a consumer holds until its channel is closed."""
        task = asyncio.get_running_loop().create_task(self._close(consumer, self._link.wire))
        self._releasing.add(task)
        task.add_done_callback(self._releasing.discard)

    async def _close(self, consumer: Consumer, wire: Wire | None) -> None:
        if not await close(consumer) and wire is self._link.wire and not self._stopping:
            self._link.renew("no answer to channel.close: what that consumer holds must come free")

    def ack(self, handed: Handed) -> None:
        """The job is settled. An ack from an earlier epoch does nothing: it came back already."""
        if handed.epoch != self._epoch:
            self._settle_late(handed, ack=True)
        elif self._window.settle(handed.delivery.tag) and not self._flush_soon:
            self._flush_soon = True
            asyncio.get_running_loop().call_soon(self._flush)

    def nack(self, handed: Handed) -> None:
        """Give it back to the queue."""
        if handed.epoch != self._epoch:
            self._settle_late(handed, ack=False)
        elif self._window.give_back(handed.delivery.tag):
            self._flush()

    def _settle_late(self, handed: Handed, *, ack: bool) -> None:
        leaver = self._leaving.get(handed.epoch)
        if leaver is None or not leaver.settle(handed.delivery.tag, ack=ack):
            self.stale += 1
        elif not len(leaver):
            del self._leaving[handed.epoch]

    def _flush(self) -> None:
        self._flush_soon = False
        window, consumer = self._window, self._consumer
        if consumer is None:
            return
        for tag in window.returned():
            consumer.nack(tag)
        if (last := window.prefix()) is not None:
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
            except TimeoutError:
                self._let_go()
            except (ConnectionLost, ChannelClosed):
                self._forget()

    async def finish(self) -> None:
        """Send every held ack, wait until the broker has taken them in, close the channel."""
        self._let_go()
        self._let_go_of_all()
        if self._releasing:
            await asyncio.wait(self._releasing)
        self._changed("stopped", "")
