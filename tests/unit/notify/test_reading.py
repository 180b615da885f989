"""The ``notify:`` part of the config."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rabbitjobs.fields import root
from rabbitjobs.notify.options import (
    LogOptions,
    MailOptions,
    NotifyOptions,
    WebhookOptions,
)
from rabbitjobs.notify.reading import read
from rabbitjobs.yaml import Document, parse


def read_text(text: str) -> tuple[NotifyOptions, Document]:
    document = parse(text, "rabbitjobs.yaml", {"SMTP_PASSWORD": "hunter2"})
    return read(root(document)), document


@pytest.mark.parametrize("text", ["", "{}", "channels: [log]"])
def test_nothing_configured_means_a_line_in_the_log(text: str) -> None:
    """An empty section is valid."""
    options, document = read_text(text)
    document.raise_problems()
    assert options == NotifyOptions()


def test_a_full_section_is_read() -> None:
    """Kinds as bare words or with their options, durations with their unit."""
    options, document = read_text(
        """
channels:
  - log
  - mail: {host: mail.shop.example, user: jobs, password: "${SMTP_PASSWORD}",
           sender: a@b.example, to: c@d.example}
  - webhook: {url: "https://x.example/", shape: slack}
  - webhook: {name: second, url: "https://y.example/", secret: s}
rate: {messages: 3, per: 5m, digest: 10s, hold: 500}
patience: 2m
title: shop
on_done: {allow: [hooks.shop.example, "*.partner.example", "localhost:8080"], give_up: 1h}
"""
    )
    document.raise_problems()
    kinds = [LogOptions, MailOptions, WebhookOptions, WebhookOptions]
    assert [type(channel) for channel in options.channels] == kinds
    mail = options.channels[1]
    assert isinstance(mail, MailOptions)
    assert (mail.password, mail.to, mail.tls, mail.port) == (
        "hunter2",
        ("c@d.example",),
        "starttls",
        587,
    )
    assert "hunter2" not in repr(options)
    assert options.rate.per == timedelta(minutes=5)
    assert len(options.on_done.allow) == 3
    assert options.patience == timedelta(minutes=2)


def test_every_fault_is_found_at_once_with_its_line() -> None:
    """A person mends the section in one go."""
    _, document = read_text(
        """channels:
  - pigeon
  - mail: {host: h, sender: "x\\r\\nBcc: y@z.example", to: [nobody], password: p, tls: none}
  - webhook: {url: "ftp://very-secret", shap: slack}
  - fax: {}
  - log
  - log
rate: {messages: many}
on_done: {allow: ["*", "https://x.example/"]}
patience: forever
colour: red
"""
    )
    lines = {problem.line for problem in document.problems}
    assert lines == {2, 3, 4, 5, 7, 8, 9, 10, 11}
    texts = "\n".join(map(str, document.problems))
    for part in ("user and password", "mail address", "shap", "fax", "twice", "colour"):
        assert part in texts
    assert "very-secret" not in texts


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "channels: 5",
        "channels: [5]",
        "channels: [{log: {}, mail: {}}]",
        "channels: [{mail: {}}]",
        "channels: [{mail: }]",
        "channels: [{webhook: {url: 5}}]",
        "rate: {messages: 0}",
        "rate: {hold: 70000}",
        "rate: {per: 1h}",
        "rate: {per: 1m, digest: 2m}",
        "timeout: 5",
        "timeout: 0s",
        "patience: 1h",
    ],
)
def test_a_wrong_value_is_refused(text: str) -> None:
    """Each rule of the options has its own message."""
    _, document = read_text(text)
    assert document.problems
