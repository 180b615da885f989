"""The options of the notifier, as frozen values; they import nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from rabbitjobs.notify.rate import Rate

Tls = Literal["starttls", "implicit", "none"]
Shape = Literal["json", "slack"]
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """A line in the log for each failure; not rate-capped."""

    name: str = "log"


@dataclass(frozen=True, slots=True, kw_only=True)
class MailOptions:
    """Mail through one SMTP server.

    ``tls``: ``starttls`` (usually port 587), ``implicit`` (465) or ``none``; certificates are
    always checked, ``ca`` names a file of further authorities. A password without TLS is refused
    unless the host is this machine.
    """

    host: str
    sender: str
    to: tuple[str, ...]
    name: str = "mail"
    port: int = 587
    tls: Tls = "starttls"
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ca: str | None = None

    @property
    def shows_password(self) -> bool:
        """Whether the password would travel readable over a network."""
        return self.password is not None and self.tls == "none" and self.host not in LOOPBACK


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookOptions:
    """An HTTP POST for each message.

    ``shape`` is ``json`` (our own fields) or ``slack`` (``{"text": ...}``, as Slack, Mattermost
    and others take it). With a ``secret`` each request is signed as docs/guides/notifications.md
    says. The URL itself is a secret with most services: it is never logged.
    """

    url: str = field(repr=False)
    name: str = "webhook"
    shape: Shape = "json"
    secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnDoneOptions:
    """Webhooks on completion, to URLs that callers give with ``on_done=``.

    Off until ``allow`` names the hosts that may be called: a caller-given URL would otherwise
    make the notifier a door into the network it runs in. An entry is a host
    (``hooks.shop.example``, ports 80 and 443), a host with a port (``localhost:8080``) or
    ``*.shop.example`` for all hosts below a domain. A completion is tried for ``give_up`` after
    the job's end, then logged as lost.
    """

    allow: tuple[str, ...] = ()
    secret: str | None = field(default=None, repr=False)
    give_up: timedelta = timedelta(hours=24)


ChannelOptions = LogOptions | MailOptions | WebhookOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifyOptions:
    """How people are told of failures.

    ``channels`` are all used for each failure. ``rate`` caps each of them but the log. ``timeout``
    bounds one try, ``patience`` all tries for one message: after it ``take`` raises and the note
    goes back to the queue. ``rate.hold`` is also the consumer's prefetch. Notes wait unacked for
    up to ``rate.per`` + ``patience``, which must stay below the broker's consumer timeout (30
    minutes by default).
    """

    channels: tuple[ChannelOptions, ...] = (LogOptions(),)
    rate: Rate = field(default_factory=Rate)
    timeout: timedelta = timedelta(seconds=10)
    patience: timedelta = timedelta(minutes=5)
    title: str = "rabbitjobs"
    on_done: OnDoneOptions = field(default_factory=OnDoneOptions)
