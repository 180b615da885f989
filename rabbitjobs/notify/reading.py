"""Reads the ``notify:`` part of the config into options; faults are collected in the document."""

from __future__ import annotations

from datetime import timedelta
from typing import Final, cast

from rabbitjobs.fields import Field
from rabbitjobs.notify.options import (
    ChannelOptions,
    LogOptions,
    MailOptions,
    NotifyOptions,
    OnDoneOptions,
    Shape,
    Tls,
    WebhookOptions,
)
from rabbitjobs.notify.rate import Rate

_SECOND: Final = timedelta(seconds=1)
_LEAST: Final = timedelta(milliseconds=1)
# Notes wait unacked for up to rate.per + patience: together below the consumer timeout of 30m.
_LONGEST_PER: Final = timedelta(minutes=20)
_LONGEST_PATIENCE: Final = timedelta(minutes=8)


def read(field: Field) -> NotifyOptions:
    """The options that the section asks for; the defaults where it is left out."""
    field.keys("channels", "rate", "timeout", "patience", "title", "on_done")
    usual = NotifyOptions()
    return NotifyOptions(
        channels=_channels(field.child("channels")) or usual.channels,
        rate=_rate(field.child("rate")),
        timeout=field.child("timeout").duration(
            usual.timeout, least=_LEAST, most=timedelta(minutes=1)
        ),
        patience=field.child("patience").duration(
            usual.patience, least=_LEAST, most=_LONGEST_PATIENCE
        ),
        title=field.child("title").text(usual.title),
        on_done=_on_done(field.child("on_done")),
    )


def _rate(field: Field) -> Rate:
    field.keys("messages", "per", "digest", "hold")
    usual = Rate()
    per = field.child("per").duration(usual.per, least=_SECOND, most=_LONGEST_PER)
    return Rate(
        messages=field.child("messages").integer(usual.messages, least=1, most=10_000),
        per=per,
        digest=field.child("digest").duration(min(usual.digest, per), least=_LEAST, most=per),
        # It is also the prefetch, which AMQP writes in 16 bits.
        hold=field.child("hold").integer(usual.hold, least=1, most=65_535),
    )


def _on_done(field: Field) -> OnDoneOptions:
    field.keys("allow", "secret", "give_up")
    for entry in field.child("allow").items(single=True):
        entry.text(fault=_host_fault)
    return OnDoneOptions(
        allow=field.child("allow").texts(single=True),
        secret=field.child("secret").text() or None,
        give_up=field.child("give_up").duration(
            OnDoneOptions().give_up, least=_SECOND, most=timedelta(days=30)
        ),
    )


def _channels(field: Field) -> tuple[ChannelOptions, ...]:
    found: list[ChannelOptions] = []
    for entry in field.items():
        channel = _channel(entry)
        if channel is None:
            continue
        if channel.name in {other.name for other in found}:
            entry.fail("a name: of its own for each channel", f"{channel.name!r} twice")
        found.append(channel)
    return tuple(found)


def _channel(field: Field) -> ChannelOptions | None:
    # Both `- log` and `- mail: {host: ...}` are how people write a list of kinds.
    if field.node is not None and isinstance(field.node.value, str):
        return LogOptions() if field.choice(("log",)) else None
    entries = field.entries()
    if len(entries) != 1:
        if entries or not field.given:
            field.fail("log, mail: {...} or webhook: {...}")
        return None
    if not entries[0].given and entries[0].path[-1] != "log":
        entries[0].fail("the channel's options", "nothing")
    match entries[0].path[-1]:
        case "log":
            return LogOptions(name=entries[0].keys("name").child("name").text("log"))
        case "mail":
            return _mail(entries[0])
        case "webhook":
            return _webhook(entries[0])
        case _:
            field.keys("log", "mail", "webhook")
            return None


def _mail(field: Field) -> MailOptions:
    field.keys(
        "name", "host", "port", "tls", "user", "password", "ca", "sender", "to",
        required=("host", "sender", "to"),
    )  # fmt: skip
    for entry in field.child("to").items(single=True):
        entry.text(fault=_address_fault)
    options = MailOptions(
        name=field.child("name").text("mail"),
        host=field.child("host").text(),
        port=field.child("port").integer(587, least=1, most=65_535),
        tls=cast(Tls, field.child("tls").choice(("starttls", "implicit", "none"), "starttls")),
        user=field.child("user").text() or None,
        password=field.child("password").text() or None,
        ca=field.child("ca").text() or None,
        sender=field.child("sender").text(fault=_address_fault),
        to=field.child("to").texts(single=True),
    )
    if (options.user is None) != (options.password is None):
        field.fail("user and password, or neither", "only one of them")
    if options.shows_password:
        field.child("tls").fail("starttls or implicit with a password", "none")
    return options


def _webhook(field: Field) -> WebhookOptions:
    field.keys("name", "url", "shape", "secret", required=("url",))
    url = field.child("url")
    if url.given and not url.text().startswith(("https://", "http://")):
        # The value stays out of the text: with most services the URL is the secret.
        url.fail("a URL that begins with https:// or http://", "something else")
    return WebhookOptions(
        name=field.child("name").text("webhook"),
        url=url.text(),
        shape=cast(Shape, field.child("shape").choice(("json", "slack"), "json")),
        secret=field.child("secret").text() or None,
    )


def _address_fault(text: str) -> str | None:
    plain = text.isprintable() and not any(sign in text for sign in " ,;<>")
    return None if plain and "@" in text[1:-1] else "a mail address"


def _host_fault(text: str) -> str | None:
    host = text.removeprefix("*.")
    plain = host and not any(sign in host for sign in "*/@ ") and text.isprintable()
    return None if plain else "a host, host:port or *.domain"
