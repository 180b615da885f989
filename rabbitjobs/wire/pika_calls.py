"""One RPC on a pika channel as an await, and pika's errors as ours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pika.exceptions
from pika.channel import Channel

from rabbitjobs.errors import ChannelClosed, ConnectionLost


def ignore(*_: Any) -> None:
    """Hear nothing."""
    return


def resolve(future: asyncio.Future[Any], value: Any) -> None:
    """Set a result, unless the waiter has gone."""
    if not future.done():
        future.set_result(value)


def reason(error: BaseException | None) -> str:
    """What an error says, in a text that is never empty.

    pika wraps what went wrong while connecting once or twice, and the wrappings say nothing.
    """
    while (inner := _inside(error)) is not None:
        error = inner
    return str(error) or repr(error)


def _inside(error: BaseException | None) -> BaseException | None:
    several = getattr(error, "exceptions", None)
    found = several[-1] if several else getattr(error, "exception", None)
    return found if isinstance(found, BaseException) else None


def translate(error: BaseException) -> ConnectionLost | ChannelClosed:
    """pika's errors end at this border."""
    if isinstance(error, pika.exceptions.ChannelClosedByBroker):
        return ChannelClosed(error.reply_text, code=error.reply_code)
    return ConnectionLost(reason(error))


async def call(channel: Channel, rpc: Callable[[Callable[[Any], None]], Any]) -> Any:
    """Run one RPC on a channel: its answer, ``ChannelClosed`` or ``ConnectionLost``."""
    answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def done(frame: Any) -> None:
        if not answered.done():
            answered.set_result(frame)

    def ended(_: Any, error: BaseException) -> None:
        if not answered.done():
            answered.set_exception(translate(error))

    if not channel.is_open:
        raise ConnectionLost("the channel is closed")
    channel.add_on_close_callback(ended)
    try:
        rpc(done)
    except pika.exceptions.AMQPError as error:
        raise ConnectionLost(reason(error)) from error
    return await answered


def close_now(channel: Any) -> None:
    """Close a channel that may be gone already, whatever was asked on it without an answer."""
    if not (channel.is_closed or channel.is_closing):
        # Behind an RPC without an answer pika would never send it.
        channel._blocking = None
        channel._blocked.clear()
        channel.close()
