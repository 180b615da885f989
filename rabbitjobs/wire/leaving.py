"""How a consumer leaves its queue: no ack is lost, nothing is counted, and nothing stays held."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from rabbitjobs.errors import ChannelClosed, ConnectionLost
from rabbitjobs.wire.link import Link
from rabbitjobs.wire.protocol import Consumer, Wire

# What the broker gets to answer when a consumer ends.
STOP_SECONDS = 5.0
CLOSE_SECONDS = 2.0


class Leaver:
    """A cancelled consumer that still holds ``tags``: its channel lives until the last is settled.

    Closed before, it would give back what is being worked on, and count it as failed. ``release``
    then closes it.
    """

    def __init__(
        self, consumer: Consumer, tags: Iterable[int], release: Callable[[Consumer], None]
    ) -> None:
        self._consumer = consumer
        self._tags = set(tags)
        self._release = release

    def __len__(self) -> int:
        return len(self._tags)

    def settle(self, tag: int, *, ack: bool) -> bool:
        """Ack it or give it back; ``False`` if it was settled before."""
        if tag not in self._tags:
            return False
        self._tags.remove(tag)
        if ack:
            self._consumer.ack(tag)
        else:
            self._consumer.nack(tag)
        if not self._tags:
            self.leave()
        return True

    def leave(self) -> None:
        """Close it; what it still holds comes again."""
        self._release(self._consumer)


class Leavers(dict[int, Leaver]):
    """The leaving consumers of one subscription, by its epochs."""

    def settle(self, epoch: int, tag: int, *, ack: bool) -> bool:
        """Ack it or give it back; ``False`` if it is not out any more."""
        leaver = self.get(epoch)
        if leaver is None or not leaver.settle(tag, ack=ack):
            return False
        if not len(leaver):
            del self[epoch]
        return True

    def leave(self) -> None:
        """Close all of them."""
        for leaver in self.values():
            leaver.leave()
        self.clear()


class Releases:
    """Closing consumers, beside everything else.

    Nobody else gets what a consumer holds until its channel is closed: ``failed`` hears when the
    link's wire did not answer that.
    """

    def __init__(self, link: Link, failed: Callable[[], None]) -> None:
        self._link = link
        self._failed = failed
        self._tasks: set[asyncio.Task[None]] = set()

    def release(self, consumer: Consumer) -> None:
        """Close a consumer of the link's wire."""
        task = asyncio.get_running_loop().create_task(self._close(consumer, self._link.wire))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def done(self) -> None:
        """Wait for all of them."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _close(self, consumer: Consumer, wire: Wire | None) -> None:
        if not await close(consumer) and wire is self._link.wire:
            self._failed()


async def close(consumer: Consumer) -> bool:
    """Close a consumer's channel; ``False`` if the broker does not say that it did.

    Acks just before ``channel.close`` can be lost on a quorum queue; a round trip before it makes
    them count. If that gets no answer the channel is closed all the same: an open one keeps its
    messages, and where a queue has a single active consumer everybody else waits for it.
    """
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await consumer.sync()
    except TimeoutError:
        pass
    except (ConnectionLost, ChannelClosed):
        return True  # what was not acked comes again
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await consumer.close()
    except TimeoutError:
        return False
    except (ConnectionLost, ChannelClosed):
        return True
    return True
