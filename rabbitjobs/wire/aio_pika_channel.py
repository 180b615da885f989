"""Channels of aiormq, used so that none of its traps is reached: RPCs, errors, writing in order.

aiormq cancels what runs in its own tasks when a connection ends, raises a bare ``CancelledError``
at callers that nobody cancelled, and closes a channel when one RPC on it is cancelled. So RPCs
run in tasks of our own, and whatever they raise is translated here.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import aiormq
from aiormq.abc import ChannelFrame
from pamqp import commands

from rabbitjobs.errors import ChannelClosed, ConnectionLost

T = TypeVar("T")

_CODES: dict[type[BaseException], int] = {
    aiormq.ChannelAccessRefused: 403,
    aiormq.ChannelNotFoundEntity: 404,
    aiormq.ChannelLockedResource: 405,
    aiormq.ChannelPreconditionFailed: 406,
}
# So many bytes go to the socket in one piece; a batch that is larger waits for the last one.
_BATCH_BYTES = 65_536


def ignore(*_: Any) -> None:
    """For a callback that nobody has set, or that must not be called any more."""


def reason_of(error: BaseException | None) -> str:
    """What a library's error says, in one line."""
    if error is None or isinstance(error, asyncio.CancelledError):
        return "the connection ended"
    if isinstance(error, OSError) and error.errno and error.errno in errno.errorcode:
        return f"{os.strerror(error.errno)}: {error.strerror}"
    texts = [str(each) for each in error.args if each]
    return ", ".join(texts) or type(error).__name__


def is_channel_error(error: BaseException | None) -> bool:
    """Whether the broker closed a channel, not the connection."""
    return isinstance(error, aiormq.AMQPChannelError)


def code_of(error: BaseException | None) -> int:
    """The reply code of a closed channel; 0 where there is none."""
    for kind, code in _CODES.items():
        if isinstance(error, kind):
            return code
    first = error.args[0] if error is not None and error.args else 0
    return first if isinstance(first, int) else 0


def translate(error: BaseException, connection: Any) -> ConnectionLost | ChannelClosed:
    """A library's error as ours."""
    if is_channel_error(error) and not connection.is_closed:
        return ChannelClosed(reason_of(error), code=code_of(error))
    if isinstance(error, aiormq.ChannelInvalidStateError | ValueError) and not connection.is_closed:
        return ChannelClosed(reason_of(error))
    return ConnectionLost(reason_of(error))


async def undisturbed(work: Awaitable[T], connection: Any) -> T:
    """Await a library's call in a task of its own: cancelling the caller does not cancel it.

    Raises ``ConnectionLost`` and ``ChannelClosed``, and ``CancelledError`` only when it is the
    caller that was cancelled.
    """
    task = asyncio.ensure_future(_translated(work, connection))
    task.add_done_callback(_retrieved)
    return await asyncio.shield(task)


async def _translated(work: Awaitable[T], connection: Any) -> T:
    try:
        return await work
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise ConnectionLost(reason_of(error)) from error
    except (aiormq.AMQPError, OSError, RuntimeError, ValueError) as error:
        raise translate(error, connection) from error


def _retrieved(task: asyncio.Future[Any]) -> None:
    """Its caller may be gone: an error that nobody waits for is no news."""
    if not task.cancelled():
        task.exception()


async def open_channel(connection: Any, *, confirms: bool = False) -> Any:
    """A fresh channel of an ``aiormq`` connection. Raises ``ConnectionLost``."""
    if connection.is_closed:
        raise ConnectionLost("expected an open connection to the broker, got a closed one")
    opening: asyncio.Future[Any] = asyncio.ensure_future(
        connection.channel(publisher_confirms=confirms, on_return_raises=True)
    )
    try:
        return await undisturbed(opening, connection)
    except asyncio.CancelledError:
        if not opening.cancel() and opening.exception() is None:
            await close_quietly(opening.result())  # just opened, and nobody waits for it any more
        raise


async def close_quietly(channel: Any) -> None:
    """Close a channel that may be gone already."""
    if channel.is_closed or channel.connection.is_closed:
        return
    try:
        await undisturbed(channel.close(), channel.connection)
    except (ConnectionLost, ChannelClosed):
        return


class Writer:
    """Writes frames to one channel in the order of the calls, from synchronous code.

    aiormq's own calls wait for a place in its queue, where a later one may overtake; an ack that
    overtakes a nack would settle it.
    """

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._waiting: deque[bytes] = deque()
        self._task: asyncio.Task[None] | None = None

    def write(self, frames: bytes) -> None:
        """Send these bytes, after all that was written before."""
        self._waiting.append(frames)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._pump())

    async def written(self) -> None:
        """Wait until everything has left for the socket, or cannot any more."""
        while self._task is not None:
            await asyncio.shield(self._task)

    async def _pump(self) -> None:
        try:
            while self._waiting and not self._channel.is_closed:
                drained = self._channel.create_future()
                payload = self._batch()
                await self._channel.write_queue.put(ChannelFrame(payload, False, drained))
                await drained
        except (asyncio.CancelledError, aiormq.AMQPError, OSError):
            self._waiting.clear()  # the channel ended: its owner hears of it by itself
        finally:
            self._task = None
            if self._channel.is_closed:
                self._waiting.clear()

    def _batch(self) -> bytes:
        parts: list[bytes] = []
        size = 0
        while self._waiting and size < _BATCH_BYTES:
            parts.append(self._waiting.popleft())
            size += len(parts[-1])
        return b"".join(parts)


def on_end(watched: Any, call: Callable[[BaseException | None], None]) -> None:
    """Call with the error once a channel or connection has ended."""

    def done(closing: asyncio.Future[Any]) -> None:
        call(None if closing.cancelled() else closing.exception())

    watched.closing.add_done_callback(done)


# pamqp allows only ASCII in the names of exchanges and queues; RabbitMQ takes any UTF-8.


class QueueDeclare(commands.Queue.Declare):
    """``queue.declare`` for any name."""

    def validate(self) -> None:
        """Nothing: the broker decides."""


class QueueDelete(commands.Queue.Delete):
    """``queue.delete`` for any name."""

    def validate(self) -> None:
        """Nothing: the broker decides."""


class QueueBind(commands.Queue.Bind):
    """``queue.bind`` for any name."""

    def validate(self) -> None:
        """Nothing: the broker decides."""


class ExchangeDeclare(commands.Exchange.Declare):
    """``exchange.declare`` for any name."""

    def validate(self) -> None:
        """Nothing: the broker decides."""


class BasicConsume(commands.Basic.Consume):
    """``basic.consume`` for any name."""

    def validate(self) -> None:
        """Nothing: the broker decides."""
