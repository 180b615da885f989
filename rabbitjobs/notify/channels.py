"""The channels: log, mail and webhook; each hands one message on, or says that it could not."""

from __future__ import annotations

import logging
from typing import Protocol

from rabbitjobs.notify.mail import MailChannel
from rabbitjobs.notify.options import (
    ChannelOptions,
    LogOptions,
    MailOptions,
    NotifyOptions,
)
from rabbitjobs.notify.webhook import WebhookChannel
from rabbitjobs.notify.wording import Message

_log = logging.getLogger("rabbitjobs.notify")


class Channel(Protocol):
    """One way to reach people."""

    @property
    def name(self) -> str:
        """The channel's name, unique in the config: part of the deduplication key."""
        ...

    @property
    def capped(self) -> bool:
        """Whether the rate cap holds for this channel."""
        ...

    async def send(self, message: Message) -> None:
        """Hand ``message`` on; returning means that the other side has taken it.

        Raises ``NotifyUnavailable`` if it did not, or if that is not known: the message is then
        sent again, so a receiver may see it twice, with the same id.
        """
        ...

    async def close(self) -> None:
        """Give back connections. Idempotent."""
        ...


class LogChannel:
    """A line for each failure, on the logger ``rabbitjobs.notify``, as a warning."""

    capped = False

    def __init__(self, options: LogOptions) -> None:
        self.name = options.name

    async def send(self, message: Message) -> None:
        """Write the line."""
        _log.warning("%s", message.subject, extra={"failure": dict(message.data)})

    async def close(self) -> None:
        """Nothing to give back."""


def build(options: NotifyOptions) -> tuple[Channel, ...]:
    """The channels that the config asks for; nothing is connected before the first message."""
    return tuple(_build(entry, options.timeout.total_seconds()) for entry in options.channels)


def _build(entry: ChannelOptions, timeout: float) -> Channel:
    if isinstance(entry, LogOptions):
        return LogChannel(entry)
    if isinstance(entry, MailOptions):
        return MailChannel(entry, timeout=timeout)
    return WebhookChannel(entry, timeout=timeout)
