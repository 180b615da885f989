"""The ``notify:`` part of the config."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rabbitjobs.errors import ConfigError
from rabbitjobs.notify.options import LogOptions, MailOptions, NotifyOptions, WebhookOptions
from rabbitjobs.notify.reading import read


def test_nothing_configured_means_a_line_in_the_log() -> None:
    """An empty section is valid."""
    assert read(None) == read({}) == NotifyOptions()


def test_a_full_section_is_read() -> None:
    """Kinds as bare words or with their options, durations with their unit."""
    options = read(
        {
            "channels": [
                "log",
                {"mail": {"host": "localhost", "sender": "a@b.example", "to": "c@d.example"}},
                {"webhook": {"url": "https://x.example/", "shape": "slack"}},
                {"webhook": {"name": "second", "url": "https://y.example/", "secret": "s"}},
            ],
            "rate": {"messages": 3, "per": "5m", "digest": "10s", "hold": 500},
            "patience": "2m",
            "title": "shop",
            "on_done": {"allow": ["hooks.shop.example"], "give_up": "1h"},
        }
    )
    assert [type(channel) for channel in options.channels] == [
        LogOptions,
        MailOptions,
        WebhookOptions,
        WebhookOptions,
    ]
    assert options.rate.per == timedelta(minutes=5)
    assert options.on_done.allow == ("hooks.shop.example",)
    assert options.patience == timedelta(minutes=2)


def test_every_fault_is_found_at_once_with_its_place() -> None:
    """A person mends the section in one go."""
    raw = {
        "channels": [
            "pigeon",
            {"mail": {"host": "h", "sender": "x\r\nBcc: y@z", "to": [], "password": "p"}},
            {"webhook": {"url": "ftp://x", "shap": "slack"}},
        ],
        "rate": {"messages": "many"},
        "on_done": {"allow": ["*", "https://x.example/"]},
        "patience": "forever",
        "colour": "red",
    }
    with pytest.raises(ConfigError) as caught:
        read(raw, file="rabbitjobs.yaml", line=len)
    places = {problem.path for problem in caught.value.problems}
    assert places >= {
        "notify.channels.0",
        "notify.channels.1.mail.sender",
        "notify.channels.1.mail.to",
        "notify.channels.1.mail.user",
        "notify.channels.2.webhook.shap",
        "notify.rate.messages",
        "notify.on_done.allow",
        "notify.patience",
        "notify.colour",
    }
    assert all(problem.file == "rabbitjobs.yaml" for problem in caught.value.problems)
    assert caught.value.problems[0].line == len(caught.value.problems[0].path)


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        ([], "notify"),
        ({"channels": "log"}, "notify.channels"),
        ({"channels": ["log", "log"]}, "notify.channels"),
        ({"channels": [{"mail": {}}]}, "notify.channels.0.mail.host"),
        ({"channels": [{"webhook": {"url": 5}}]}, "notify.channels.0.webhook.url"),
        ({"rate": {"messages": 0}}, "notify.rate.messages"),
        ({"rate": {"hold": 70000}}, "notify.rate.hold"),
        ({"rate": {"per": "1h"}}, "notify.rate.per"),
        ({"rate": {"per": "1m", "digest": "2m"}}, "notify.rate.digest"),
        ({"timeout": 5}, "notify.timeout"),
        ({"timeout": "0s"}, "notify.timeout"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(raw: object, place: str) -> None:
    """Each rule of the options has its own message."""
    with pytest.raises(ConfigError) as caught:
        read(raw)
    assert place in {problem.path for problem in caught.value.problems}
