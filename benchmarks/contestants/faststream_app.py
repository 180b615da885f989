"""FastStream with acks after completion, publisher confirms and a quorum queue."""

from __future__ import annotations

import logging

import uvloop
from faststream import AckPolicy, FastStream
from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitQueue
from marks import URL, Trips, atime_sends, mark, told

QUEUE = RabbitQueue("faststream", queue_type=QueueType.QUORUM, durable=True)

broker = RabbitBroker(
    URL, logger=None, apply_types=False, default_channel=Channel(prefetch_count=200)
)
app = FastStream(broker, logger=None)


@broker.subscriber(QUEUE, ack_policy=AckPolicy.NACK_ON_ERROR)
async def noop(payload: str) -> None:
    """The job."""
    mark(payload)


async def send(payload: str) -> None:
    """Persistent, mandatory, confirmed."""
    await broker.publish(payload, queue=QUEUE, persist=True, mandatory=True)


async def main() -> None:
    """Send what was asked for."""
    async with broker:
        await broker.declare_queue(QUEUE)
        if told() == "send":
            await atime_sends(send)
        else:
            await Trips().arun(send)


if __name__ == "__main__":
    logging.disable(logging.INFO)
    if told() == "work":
        uvloop.run(app.run())
    else:
        uvloop.run(main())
