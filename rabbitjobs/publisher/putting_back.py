"""The way back out of quarantine and undeliverable: the same job, sent to a work queue again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import msgspec

from rabbitjobs.errors import SignatureRefused, Undecodable, Unroutable
from rabbitjobs.message import headers as h
from rabbitjobs.message.codec import decode
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.message.signing import Signing
from rabbitjobs.publisher.prepare import outgoing_of
from rabbitjobs.topology import names
from rabbitjobs.topology.model import TopologySpec
from rabbitjobs.wire.browsing import Browser, browsing
from rabbitjobs.wire.protocol import Delivery, Outgoing, Wire

PREFETCH = 250
# Each visitor is a channel, of which a broker allows 2047 by default.
VISITORS = 200
IDLE_SECONDS = 5.0


class PutBack(msgspec.Struct, frozen=True):
    """What became of the messages that stood in the queue: the four together are all of them.

    ``sent`` again, or staying: ``unreadable`` (or signed by no key, where signing is on),
    ``homeless`` (for a queue that the topology lacks), ``unseen`` (not looked at: others took them,
    or there was too much before them that stays).
    """

    sent: int
    unreadable: int
    homeless: int
    unseen: int


async def put_back(
    wire: Wire,
    queue: str,
    *,
    to: str | None,
    spec: TopologySpec,
    publish: Callable[[Outgoing], Awaitable[None]],
    signing: Signing | None = None,
) -> PutBack:
    """Send every job that stands in ``queue`` now to the work queue it is for, or ``to``.

    Published confirmed by ``publish``, then acked: a crash in between sends one twice, under the
    same id and attempt. A job out of quarantine has an ending on record and comes back as its next
    attempt. ``signing`` checks each and signs it anew. What cannot be sent is held meanwhile, and
    then handed back where it stood; after ``VISITORS`` times ``PREFETCH`` of them it ends.
    """
    ready, _ = await wire.inspect_queue(queue)
    sent = unreadable = homeless = 0
    async with _Visitors(wire, queue) as visitors:
        while (held := unreadable + homeless) + sent < ready:
            browser = await visitors.with_room(held)
            delivery = await browser.next() if browser else None
            if browser is None or delivery is None:
                break
            envelope = _read(delivery, to, signing)
            if envelope is None:
                unreadable += 1
                continue
            try:
                outgoing = outgoing_of(envelope, spec)
            except Unroutable:
                homeless += 1
                continue
            await publish(outgoing)
            browser.take_out(delivery)
            sent += 1
    return PutBack(sent, unreadable, homeless, ready - sent - held)


class _Visitors(AsyncExitStack):
    """Browsers of one queue: when all that one may hold stays, the next one comes.

    They leave in reverse order, so that nobody is given what another hands back: all before the
    last one are full.
    """

    def __init__(self, wire: Wire, queue: str) -> None:
        super().__init__()
        self._wire, self._queue = wire, queue
        self._browsers: list[Browser] = []

    async def with_room(self, held: int) -> Browser | None:
        """The browser that still gets messages when ``held`` stay; ``None`` past the bound."""
        if held == len(self._browsers) * PREFETCH:
            if len(self._browsers) == VISITORS:
                return None
            visit = browsing(self._wire, self._queue, prefetch=PREFETCH, idle=IDLE_SECONDS)
            self._browsers.append(await self.enter_async_context(visit))
        return self._browsers[-1]


def sources(namespace: str) -> dict[str, str]:
    """The queues with a way back, by their short names."""
    return {
        "quarantine": names.quarantine_queue(namespace),
        "undeliverable": names.undeliverable_queue(namespace),
    }


def _read(delivery: Delivery, to: str | None, signing: Signing | None) -> Envelope | None:
    headers = delivery.properties.headers
    queue = headers.get(h.QUEUE) or to
    if delivery.damage is not None or not isinstance(queue, str):
        return None
    try:
        envelope = decode(delivery.properties, delivery.body, queue=queue)
        if signing is not None:
            signing.check(envelope)
    except (Undecodable, SignatureRefused):
        return None
    attempt = envelope.attempt + (h.FAILURE in headers)
    envelope = msgspec.structs.replace(
        envelope, queue=to or queue, attempt=attempt, due=None, again=True, unknown=0
    )
    return signing.renew(envelope) if signing is not None else envelope
