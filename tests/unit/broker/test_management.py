"""The management client: where it may send a password, and how it fails."""

from __future__ import annotations

import pytest

from rabbitjobs.broker.management import Management, management_of
from rabbitjobs.broker.url import parse_urls
from rabbitjobs.errors import ManagementError, UrlRefused


@pytest.mark.parametrize(
    ("amqp", "url"),
    [
        ("amqp://u:p@localhost/", "http://localhost:15672"),
        ("amqp://u:p@rabbitmq:5672/", "http://rabbitmq:15672"),
        ("amqps://u:p@broker.example/", "https://broker.example:15671"),
        ("amqp://u:p@[::1]/", "http://[::1]:15672"),
    ],
)
def test_the_usual_address_follows_from_the_amqp_url(amqp: str, url: str) -> None:
    """Plain HTTP only where the same password goes in plain AMQP anyway."""
    management = management_of(parse_urls(amqp)[0])
    assert (management.url, management.user) == (url, "u")


@pytest.mark.parametrize(
    ("amqp", "url"),
    [
        ("amqps://u:p@broker.example/", "http://broker.example:15672"),
        ("amqp://u:p@one.example/", "http://two.example:15672"),
        ("amqp://u:p@localhost/", "ftp://localhost"),
        ("amqp://u:p@localhost/", "localhost:15672"),
    ],
)
def test_plain_http_to_another_host_is_refused(amqp: str, url: str) -> None:
    """It would show the password on the network."""
    with pytest.raises(UrlRefused):
        management_of(parse_urls(amqp)[0], url)


def test_the_password_is_not_shown() -> None:
    """Neither in the repr nor in the URL."""
    management = Management("https://us%40er:se%2Fcret@broker.example/prefix/")
    assert repr(management) == "Management('https://broker.example/prefix', user='us@er')"


def test_nobody_there_is_an_error_that_says_what_to_do() -> None:
    """Status 0 tells it from a refusal."""
    with Management("http://127.0.0.1:1") as management, pytest.raises(ManagementError) as error:
        management.overview()
    assert error.value.status == 0
    assert "RABBITJOBS_MANAGEMENT_URL" in str(error.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://one/?verify=verify_none", "cannot be switched off"),
        ("https://one/?no_verify_ssl=1", "no_verify_ssl"),
        ("https://one/?heartbeat=5", "move it"),
        ("http://127.0.0.1/?cacertfile=/ca.pem", "write https://"),
    ],
)
def test_options_that_do_not_hold_are_refused(url: str, said: str) -> None:
    """Instead of being dropped without a word."""
    with pytest.raises(UrlRefused, match=said):
        Management(url)
