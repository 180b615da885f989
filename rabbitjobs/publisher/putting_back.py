"""The way back out of quarantine and undeliverable: the same job, sent to a work queue again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from rabbitjobs.errors import SignatureRefused, Undecodable
from rabbitjobs.message import headers as h
from rabbitjobs.message.codec import decode
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.message.signing import Signing
from rabbitjobs.publisher.prepare import outgoing_of
from rabbitjobs.topology import names
from rabbitjobs.topology.model import TopologySpec
from rabbitjobs.wire.browsing import browsing
from rabbitjobs.wire.protocol import Delivery, Outgoing, Wire

PREFETCH = 100
IDLE_SECONDS = 5.0


class PutBack(msgspec.Struct, frozen=True):
    """How many jobs were sent again, and how many messages stay.

    What cannot be read stays, and what no key signed where signing is on.
    """

    sent: int
    unreadable: int


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
    attempt. ``signing`` checks each and signs it anew. Raises ``Unroutable`` for a queue that the
    topology lacks: the rest stays.
    """
    ready, _ = await wire.inspect_queue(queue)
    sent = unreadable = 0
    async with browsing(wire, queue, prefetch=PREFETCH, idle=IDLE_SECONDS) as browser:
        while sent + unreadable < ready and unreadable < PREFETCH:
            delivery = await browser.next()
            if delivery is None:
                break
            envelope = _read(delivery, to, signing)
            if envelope is None:
                unreadable += 1
                continue
            await publish(outgoing_of(envelope, spec))
            browser.take_out(delivery)
            sent += 1
    return PutBack(sent, unreadable)


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
