"""A real RabbitMQ for each test run (for each process of it), and a vhost for each test.

``RABBITJOBS_TEST_BROKER`` chooses the version ("4.3", "4.0", "3.10"). A broker
that cannot be had fails the tests: nothing is skipped.
"""

from __future__ import annotations

import logging
import os
import sys
import uuid
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from rabbitjobs.broker.node import Node
from tests.brokers import (
    GIVEN_MANAGEMENT_URL,
    GIVEN_URL,
    Broker,
    GivenBroker,
    Vhost,
    wanted_version,
)

# The conformance suites assert; the rest of the package is left as it is.
pytest.register_assert_rewrite("rabbitjobs.testing")

# How long an example takes says how busy the machine is, and nothing about what is tested.
settings.register_profile(
    "unhurried", parent=settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unhurried")


def pytest_configure() -> None:
    """Nothing of the user's own set-up reaches the tests."""
    for name in list(os.environ):
        if name.startswith("RABBITJOBS_") and not name.startswith("RABBITJOBS_TEST_"):
            del os.environ[name]


@pytest.fixture(autouse=True)
def log_levels() -> Iterator[None]:
    """A command that hushes a library's log in one test does not hush it in the next."""
    loggers = [logging.getLogger(name) for name in ("", "pika", "aio_pika", "aiormq", "httpx")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture(scope="session")
def node() -> Iterator[Node]:
    """A private node, one for each process of the run. Break only nodes of your own."""
    with Node(version=wanted_version(), report=lambda line: print(line, file=sys.stderr)) as node:
        yield node


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest) -> Broker:
    """The private node, or the broker that a person named in ``RABBITJOBS_TEST_URL``."""
    if given := os.environ.get(GIVEN_URL):
        return GivenBroker(given, os.environ.get(GIVEN_MANAGEMENT_URL))
    found: Node = request.getfixturevalue("node")
    return found


@pytest.fixture
def vhost(broker: Broker) -> Iterator[Vhost]:
    """A fresh vhost, removed afterwards."""
    name = f"t{uuid.uuid4().hex[:12]}"
    url = broker.create_vhost(name)
    try:
        yield Vhost(name, url, broker)
    finally:
        broker.delete_vhost(name)


@pytest.fixture
def broker_url(vhost: Vhost) -> str:
    """The AMQP URL of a fresh vhost."""
    return vhost.url


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Captured output that is not UTF-8 must not end a worker process of pytest-xdist."""
    report = yield
    report.sections = [
        (title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections
    ]
    return report


@pytest.fixture
def management_url(broker: Broker) -> str:
    """The management HTTP API of the broker under test, with user and password in it."""
    return broker.management_url
