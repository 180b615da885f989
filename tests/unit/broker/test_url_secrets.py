"""No text about a URL that cannot be read shows a piece of its password."""

from __future__ import annotations

import pytest

from rabbitjobs.broker.url import parse_urls
from rabbitjobs.errors import StoreError, UrlRefused
from rabbitjobs.store.connect import parse_url


@pytest.mark.parametrize(
    "url",
    [
        "amqp://u:SECRET/x@127.0.0.1:1/v",
        "amqp://u:SECRET?x@127.0.0.1:1/v",
        "amqp://u:SECRET#x@127.0.0.1:1/v",
        "amqp:u:SECRET@h",
        "amqp://u:SECRET@[::1/v",
        "amqp://u:p@h:SECRET/v",
        "amqp://u:p@h/v?heartbeat=SECRET",
        "SECRET://u:p@h/v",
    ],
)
def test_a_broker_url_that_cannot_be_read(url: str) -> None:
    """The text says what to encode instead."""
    with pytest.raises(UrlRefused) as refused:
        parse_urls(url)
    assert "SECRET" not in str(refused.value)


def test_a_store_url_that_cannot_be_read() -> None:
    """SQLAlchemy's own text would quote it."""
    with pytest.raises(StoreError) as refused:
        parse_url("postgresql://u:pw@127.0.0.1:SECRET/v")
    assert "SECRET" not in str(refused.value)
