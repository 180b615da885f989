"""pika by itself: blocking and asyncio, confirms on, and a consumer with coalesced acks."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pika
from marks import PAYLOAD, URL, WARM, atime_sends, count, mark, say, time_sends, told
from pika.adapters.asyncio_connection import AsyncioConnection

QUEUE = "raw"
QUORUM = {"x-queue-type": "quorum"}
PERSISTENT = pika.BasicProperties(delivery_mode=2)


def declare() -> None:
    """Make the queue."""
    connection = pika.BlockingConnection(pika.URLParameters(URL))
    connection.channel().queue_declare(QUEUE, durable=True, arguments=QUORUM)
    connection.close()


def send() -> None:
    """The blocking connection, each confirm awaited."""
    connection = pika.BlockingConnection(pika.URLParameters(URL))
    channel = connection.channel()
    channel.confirm_delivery()
    time_sends(lambda payload: channel.basic_publish("", QUEUE, payload.encode(), PERSISTENT, True))
    connection.close()


class Publisher:
    """The asyncio connection with confirms."""

    async def open(self) -> None:
        """Connect and turn confirms on."""
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[Any] = loop.create_future()
        self.connection = AsyncioConnection(
            pika.URLParameters(URL), on_open_callback=lambda _: ready.set_result(None)
        )
        await ready
        opened: asyncio.Future[Any] = loop.create_future()
        self.connection.channel(on_open_callback=opened.set_result)
        self.channel = await opened
        selected: asyncio.Future[Any] = loop.create_future()
        self.channel.confirm_delivery(self._confirmed, selected.set_result)
        await selected
        self.waiting: dict[int, asyncio.Future[None]] = {}
        self.tag = self.first = 0

    def _confirmed(self, frame: Any) -> None:
        last = frame.method.delivery_tag
        for tag in range(self.first + 1 if frame.method.multiple else last, last + 1):
            future = self.waiting.pop(tag, None)
            if future is not None:
                future.set_result(None)
        if frame.method.multiple:
            self.first = last

    def publish(self, payload: str) -> asyncio.Future[None]:
        """Publish; the future is done when it is confirmed."""
        self.channel.basic_publish("", QUEUE, payload.encode(), PERSISTENT, True)
        self.tag += 1
        future = self.waiting[self.tag] = asyncio.get_running_loop().create_future()
        return future


async def asend() -> None:
    """Each confirm awaited."""
    publisher = Publisher()
    await publisher.open()
    await atime_sends(publisher.publish)


async def send_many() -> None:
    """Pipelined: a thousand unconfirmed at most."""
    publisher = Publisher()
    await publisher.open()
    for _ in range(WARM):
        await publisher.publish(PAYLOAD)
    before, cpu = time.perf_counter(), time.process_time()
    batch: list[asyncio.Future[None]] = []
    for _ in range(count() - WARM):
        batch.append(publisher.publish(PAYLOAD))
        if len(batch) == 1000:
            await asyncio.gather(*batch)
            batch.clear()
    await asyncio.gather(*batch)
    say(
        seconds=time.perf_counter() - before,
        cpu=time.process_time() - cpu,
        timed=count() - WARM,
        sent=count(),
    )


async def work() -> None:
    """Consume with prefetch 200; one ack for all that one turn of the loop brought."""
    loop = asyncio.get_running_loop()
    last = 0

    def flush() -> None:
        nonlocal last
        channel.basic_ack(last, multiple=True)
        last = 0

    def on_message(_channel: Any, method: Any, _properties: Any, body: bytes) -> None:
        nonlocal last
        mark(body.decode())
        if not last:
            loop.call_soon(flush)
        last = method.delivery_tag

    ready: asyncio.Future[Any] = loop.create_future()
    connection = AsyncioConnection(
        pika.URLParameters(URL), on_open_callback=lambda _: ready.set_result(None)
    )
    await ready
    opened: asyncio.Future[Any] = loop.create_future()
    connection.channel(on_open_callback=opened.set_result)
    channel = await opened
    channel.basic_qos(prefetch_count=200)
    channel.basic_consume(QUEUE, on_message)
    await asyncio.Event().wait()


if __name__ == "__main__":
    declare()
    if told() == "send":
        send()
    else:
        asyncio.run({"asend": asend, "send-many": send_many, "work": work}[told()]())
