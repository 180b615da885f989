"""The publish channel of the pika wire: confirms, returns, and the message that closes it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import pika.exceptions
from pika.channel import Channel

from rabbitjobs.wire.frames import UNENCODABLE, culprit, publish_frames
from rabbitjobs.wire.pika_calls import ignore, reason, translate
from rabbitjobs.wire.pika_guard import GuardedAsyncioConnection
from rabbitjobs.wire.protocol import CONFIRMED, Outcome, Outgoing, Rejected, Unknown

_Pending = tuple[Outgoing, Callable[[Outcome], None]]


class PikaPublisher:
    """The publish channel in confirm mode, opened anew when a bad message closes it."""

    def __init__(self, connection: GuardedAsyncioConnection) -> None:
        self._connection = connection
        self._channel: Channel | None = None
        self._ready = False
        self._tag = 0
        # Every tag below this one has its outcome.
        self._first = 1
        self._flying: dict[int, _Pending] = {}
        self._held: deque[_Pending] = deque()
        self._returned: dict[str | None, Rejected] = {}

    async def open(self) -> None:
        """Open the channel and select confirms."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._start(ready)
        await ready

    def _start(self, ready: asyncio.Future[None] | None = None) -> None:
        def confirming(_: Any) -> None:
            self._ready = True
            if ready is not None and not ready.done():
                ready.set_result(None)
            while self._held and self._ready:
                self.publish(*self._held.popleft())

        def opened(channel: Channel) -> None:
            channel.add_on_return_callback(self._on_return)
            self._connection.confirm_to(self._on_confirm, channel)
            channel.confirm_delivery(ignore, callback=confirming)

        def ended(_: Any, error: BaseException) -> None:
            if ready is not None and not ready.done():
                ready.set_exception(translate(error))
            self._on_channel_closed(error)

        self._tag, self._first, self._ready = 0, 1, False
        channel = self._connection.channel(on_open_callback=opened)
        channel.add_on_close_callback(ended)
        self._channel = channel

    def publish(self, message: Outgoing, done: Callable[[Outcome], None]) -> None:
        """Write the message now, or as soon as the channel is open again."""
        channel = self._channel
        if channel is None or not self._ready:
            self._held.append((message, done))
            return
        if not channel.is_open:
            done(Rejected("unavailable", "the channel is closing"))
            return
        connection = self._connection
        try:
            # pika's own encoder takes five times as long.
            frames = publish_frames(message, channel.channel_number, connection.params.frame_max)
        except UNENCODABLE as error:
            # Raised before anything was written: a field that is too long.
            done(Rejected("refused", reason(error)))
            return
        self._tag += 1
        self._flying[self._tag] = (message, done)
        connection.write(frames)

    def _on_return(self, _: Any, method: Any, properties: Any, __: bytes) -> None:
        # The return comes before the ack of the same message; its own message id tells which.
        self._returned[properties.message_id] = Rejected(
            "unroutable", f"no queue takes it: {method.reply_text}", method.reply_code
        )

    def _on_confirm(self, last: int, multiple: bool, acked: bool) -> None:
        if not multiple:
            self._settle(last, acked)
            return
        first, self._first = self._first, max(self._first, last + 1)
        for tag in range(first, last + 1):
            self._settle(tag, acked)

    def _settle(self, tag: int, acked: bool) -> None:
        pending = self._flying.pop(tag, None)
        if pending is None:
            return
        message, done = pending
        returned = (
            self._returned.pop(message.properties.message_id, None) if self._returned else None
        )
        if returned is not None:
            done(returned)
        elif acked:
            done(CONFIRMED)
        else:
            done(Rejected("nacked", "the queue refused it: it is full"))

    def _on_channel_closed(self, error: BaseException) -> None:
        self._ready = False
        if not isinstance(error, pika.exceptions.ChannelClosedByBroker):
            return  # the connection ended: ``fail`` follows
        flying, self._flying = list(self._flying.values()), {}
        self._returned.clear()
        guilty = culprit([message for message, _ in flying], error.reply_text)
        if self._connection.is_open:
            self._start()
        for message, done in flying:
            if message is guilty:
                done(Rejected("refused", error.reply_text, error.reply_code))
            else:
                done(Unknown(f"the channel was closed: {error.reply_text}", channel=True))

    def fail(self, outcome: Unknown) -> None:
        """The connection is gone: what was written is unknown, what was held never left."""
        flying, self._flying = list(self._flying.values()), {}
        held, self._held = list(self._held), deque()
        for _, done in flying:
            done(outcome)
        for _, done in held:
            done(Rejected("unavailable", outcome.text))
