"""The brokers that tests run against: a private node, or the one that a person names."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from typing import Protocol

from rabbitjobs.broker.management import Management, management_of
from rabbitjobs.broker.url import parse_urls
from rabbitjobs.errors import ManagementError

GIVEN_URL = "RABBITJOBS_TEST_URL"
GIVEN_MANAGEMENT_URL = "RABBITJOBS_TEST_MANAGEMENT_URL"
VERSION = "RABBITJOBS_TEST_BROKER"
# 18 queues fewer for each test: most of what a topology costs the broker is its delay ladder.
SHORT_LADDER = "delays: {longest: 15m}\n"


class Broker(Protocol):
    """Where tests make their vhosts."""

    @property
    def version(self) -> str:
        """The server's version, such as "4.3.6"."""
        ...

    @property
    def management_url(self) -> str:
        """The management HTTP API's address, with the password in it."""
        ...

    def create_vhost(self, name: str | None = None) -> str:
        """Make a vhost; returns its AMQP URL."""
        ...

    def delete_vhost(self, name: str) -> None:
        """Remove a vhost with everything in it."""
        ...


@dataclass(frozen=True, slots=True)
class Vhost:
    """A fresh vhost of one test."""

    name: str
    url: str
    broker: Broker


class GivenBroker:
    """The broker that ``RABBITJOBS_TEST_URL`` names; vhosts come and go by its management API."""

    def __init__(self, url: str, management_url: str | None) -> None:
        self._address = parse_urls(url)[0]
        self._url = url
        self._management: Management = management_of(self._address, management_url)
        self._given_management_url = management_url
        try:
            self.version = self._management.version()
        except ManagementError as error:
            raise AssertionError(
                f"{GIVEN_URL} is set, so tests make their vhosts by that broker's management API; "
                f"set {GIVEN_MANAGEMENT_URL} if it is elsewhere: {error}"
            ) from error

    @property
    def management_url(self) -> str:
        """The address of the management API, as far as it was given."""
        return self._given_management_url or self._management.url

    def create_vhost(self, name: str | None = None) -> str:
        """Make a vhost and grant this user everything on it."""
        name = name or f"v{uuid.uuid4().hex[:12]}"
        self._management.create_vhost(name)
        self._management.set_permissions(
            name, self._address.user, configure=".*", write=".*", read=".*"
        )
        base, _, query = self._url.partition("?")
        scheme, _, rest = base.partition("://")
        return f"{scheme}://{rest.partition('/')[0]}/{name}{'?' + query if query else ''}"

    def delete_vhost(self, name: str) -> None:
        """Remove the vhost."""
        self._management.delete_vhost(name)


def wanted_version() -> str | None:
    """The RabbitMQ that this run of the tests is for; None is the machine's best."""
    return os.environ.get(VERSION) or None
