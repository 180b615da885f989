"""aio-pika by itself: confirms on, each awaited or pipelined, an ack for each message."""

from __future__ import annotations

import asyncio
import time

import aio_pika
from aio_pika.abc import AbstractIncomingMessage
from marks import PAYLOAD, URL, WARM, atime_sends, count, mark, say, told

QUEUE = "raw"


async def main() -> None:
    """Do what was asked for."""
    connection = await aio_pika.connect(URL)
    channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
    await channel.set_qos(prefetch_count=200)
    queue = await channel.declare_queue(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})

    async def publish(payload: str) -> None:
        message = aio_pika.Message(payload.encode(), delivery_mode=2)
        await channel.default_exchange.publish(message, QUEUE, mandatory=True)

    async def on_message(message: AbstractIncomingMessage) -> None:
        mark(message.body.decode())
        await message.ack()

    if told() == "work":
        await queue.consume(on_message)
        await asyncio.Event().wait()
    elif told() == "send":
        await atime_sends(publish)
    else:
        await pipelined(publish)
    await connection.close()


async def pipelined(publish: object) -> None:
    """A thousand unconfirmed at most."""
    assert callable(publish)
    before, cpu = time.perf_counter(), time.process_time()
    for start in range(0, count(), 1000):
        await asyncio.gather(*(publish(PAYLOAD) for _ in range(min(1000, count() - start))))
    say(
        seconds=time.perf_counter() - before,
        cpu=time.process_time() - cpu,
        timed=count(),
        sent=count(),
        warm=WARM,
    )


if __name__ == "__main__":
    asyncio.run(main())
