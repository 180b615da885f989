"""The publish channel of the aio-pika wire: confirms, returns, a new channel for a closed one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiormq

from rabbitjobs.errors import ChannelClosed, ConnectionLost
from rabbitjobs.wire.aio_pika_channel import (
    Writer,
    close_quietly,
    code_of,
    is_channel_error,
    on_end,
    open_channel,
    reason_of,
    undisturbed,
)
from rabbitjobs.wire.frames import UNENCODABLE, culprit, publish_frames
from rabbitjobs.wire.protocol import CONFIRMED, Outcome, Outgoing, Rejected, Unknown

Pending = tuple[Outgoing, Callable[[Outcome], None]]


class AioPikaPublisher:
    """The publish channel in confirm mode, opened anew when a bad message closes it.

    aiormq's ``basic_publish`` is left out: it needs a task for each message and waits for the
    socket each time. Its bookkeeping of confirms and returns is used as it stands.
    """

    def __init__(self, connection: Any, frame_max: int) -> None:
        self._connection = connection
        self._frame_max = frame_max
        self._channel: Any = None
        self._writer: Writer | None = None
        self._flying: dict[int, Pending] = {}
        self._held: list[Pending] = []
        self._over = False
        self._opening: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open the channel and select confirms; then write what was held meanwhile."""
        channel = await open_channel(self._connection, confirms=True)
        self._channel, self._writer = channel, Writer(channel)
        on_end(channel, lambda error: self._on_channel_closed(channel, error))
        held, self._held = self._held, []
        for message, done in held:
            self.publish(message, done)

    def publish(self, message: Outgoing, done: Callable[[Outcome], None]) -> None:
        """Write the message now, or as soon as the channel is open again."""
        channel, writer = self._channel, self._writer
        if writer is None or channel.is_closed:
            self._held.append((message, done))
            return
        try:
            frames = publish_frames(message, channel.number, self._frame_max)
        except UNENCODABLE as error:
            done(Rejected("refused", reason_of(error)))
            return
        channel.delivery_tag += 1
        tag = channel.delivery_tag
        message_id = message.properties.message_id
        confirmation = channel.create_future()
        channel.confirmations[tag] = confirmation
        if message_id is not None:
            channel.message_id_delivery_tag[message_id] = tag
        self._flying[tag] = (message, done)
        confirmation.add_done_callback(lambda future: self._resolve(channel, tag, future))
        writer.write(frames)

    def _resolve(self, channel: Any, tag: int, confirmation: asyncio.Future[Any]) -> None:
        if channel is not self._channel or tag not in self._flying:
            return
        error = None if confirmation.cancelled() else confirmation.exception()
        outcome: Outcome
        if isinstance(error, aiormq.PublishError):
            outcome = Rejected("unroutable", f"no queue takes it: {reason_of(error)}", 312)
        elif isinstance(error, aiormq.DeliveryError):
            outcome = Rejected("nacked", "the queue refused it: it is full")
        elif error is None and not confirmation.cancelled():
            outcome = CONFIRMED
        else:
            return  # the channel or the connection ended: its end tells all of them
        message, done = self._flying.pop(tag)
        channel.message_id_delivery_tag.pop(message.properties.message_id, None)
        done(outcome)

    def _on_channel_closed(self, channel: Any, error: BaseException | None) -> None:
        if self._over or channel is not self._channel or self._connection.is_closed:
            return
        self._writer = None
        flying, self._flying = list(self._flying.values()), {}
        self._opening = asyncio.get_running_loop().create_task(self._open_anew())
        reason = reason_of(error)
        guilty = culprit([message for message, _ in flying], reason)
        for message, done in flying:
            if message is guilty and is_channel_error(error):
                done(Rejected("refused", reason, code_of(error)))
            else:
                done(Unknown(f"the channel was closed: {reason}", channel=True))

    async def _open_anew(self) -> None:
        try:
            await self.open()
        except (ConnectionLost, ChannelClosed):
            # Without a publish channel the connection is of no use: its end is heard above.
            await undisturbed(self._connection.close(), self._connection)

    def fail(self, outcome: Unknown) -> None:
        """The connection is gone: what was written is unknown, what was held never left."""
        self._over = True
        flying, self._flying = list(self._flying.values()), {}
        held, self._held = self._held, []
        for _, done in flying:
            done(outcome)
        for _, done in held:
            done(Rejected("unavailable", outcome.text))

    async def close(self) -> None:
        """Close the channel only."""
        self._over = True
        if self._opening is not None:
            await asyncio.wait([self._opening])
        if self._channel is not None:
            await close_quietly(self._channel)
