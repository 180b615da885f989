"""The way back out of quarantine and undeliverable: the same job, sent to a work queue again."""

from __future__ import annotations

import asyncio

import msgspec

from rabbitjobs.app.application import RabbitJobs
from rabbitjobs.errors import ConnectionLost, SignatureRefused, Undecodable
from rabbitjobs.message import headers as h
from rabbitjobs.message.codec import decode
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.message.signing import Signing
from rabbitjobs.publisher.prepare import outgoing_of
from rabbitjobs.topology import names
from rabbitjobs.wire.protocol import Consumer, Delivery, Wire

PREFETCH = 100
IDLE_SECONDS = 5.0


class PutBack(msgspec.Struct, frozen=True):
    """How many jobs were sent again, and how many messages stay.

    What cannot be read stays, and what no key signed where signing is on.
    """

    sent: int
    unreadable: int


async def put_back(app: RabbitJobs, wire: Wire, queue: str, *, to: str | None) -> PutBack:
    """Send every job that stands in ``queue`` now to the work queue it is for, or ``to``.

    Published confirmed, then acked: a crash in between sends one twice, under the same id and
    attempt. A job out of quarantine has an ending on record and comes back as its next attempt.
    Raises ``Unroutable`` for a queue that the topology lacks: the rest stays.
    """
    ready, _ = await wire.inspect_queue(queue)
    arriving: asyncio.Queue[Delivery | None] = asyncio.Queue()
    consumer = await wire.consume(
        queue,
        prefetch=PREFETCH,
        deliver=arriving.put_nowait,
        cancelled=lambda _reason: arriving.put_nowait(None),
    )
    sent = 0
    unreadable: list[Delivery] = []
    try:
        while sent + len(unreadable) < ready and len(unreadable) < PREFETCH:
            async with asyncio.timeout(IDLE_SECONDS):
                delivery = await arriving.get()
            if delivery is None:
                raise ConnectionLost(f"the broker ended consuming {queue}")
            envelope = _read(delivery, to, app.parts.signing)
            if envelope is None:
                unreadable.append(delivery)
                continue
            await app.publisher.confirmed(outgoing_of(envelope, app.spec))
            consumer.ack(delivery.tag)
            sent += 1
    except TimeoutError:
        pass  # somebody else took the rest
    finally:
        await _leave(consumer, [*unreadable, *_rest(arriving)])
    return PutBack(sent, len(unreadable))


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
        envelope, queue=to or queue, attempt=attempt, due=None, again=True
    )
    return signing.renew(envelope) if signing is not None else envelope


def _rest(arriving: asyncio.Queue[Delivery | None]) -> list[Delivery]:
    rest: list[Delivery] = []
    while not arriving.empty():
        delivery = arriving.get_nowait()
        if delivery is not None:
            rest.append(delivery)
    return rest


async def _leave(consumer: Consumer, rest: list[Delivery]) -> None:
    """Cancel, a round trip, give back, a round trip: in this order 4.3 does not count it."""
    await consumer.cancel()
    for delivery in rest:
        consumer.nack(delivery.tag)
    await consumer.sync()
    await consumer.close()
