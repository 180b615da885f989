"""The pytest plugin: fixture ``rj``, on a broker in memory or (``--rj-broker=real``) a real one.

Override the fixture ``rj_app`` to say which app is tested.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    # At run time imported by the fixtures: every pytest run in an environment loads this file.
    from rabbitjobs.app.application import RabbitJobs
    from rabbitjobs.testing.trial import Trial


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--rj-broker``."""
    parser.getgroup("rabbitjobs").addoption(
        "--rj-broker",
        choices=("memory", "real"),
        default="memory",
        help="Where the fixture rj runs: in memory, or on a real RabbitMQ "
        "(RABBITJOBS_TEST_URL, else a private node).",
    )


@pytest.fixture
def rj_app() -> RabbitJobs:
    """The app on trial: RABBITJOBS_APP, the config's ``app``, or pyproject.toml's; override it."""
    from rabbitjobs import settings
    from rabbitjobs.app.finding import find_app, include

    configured = settings.load()
    app = find_app(None, configured=configured.app)
    include(configured.include)
    return app


@pytest.fixture(scope="session")
def rj_node(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The private RabbitMQ of the test run; started with the first test that needs it."""
    from rabbitjobs.broker import Node

    with Node() as node:
        yield node


@pytest.fixture
def rj(request: pytest.FixtureRequest, rj_app: RabbitJobs, tmp_path: Path) -> Iterator[Trial]:
    """The app on trial: a broker of its own (a vhost of its own), and an empty store."""
    from rabbitjobs.testing.trial import Trial
    from rabbitjobs.wire.memory import MemoryBroker

    real = request.config.getoption("--rj-broker") == "real"
    trial = Trial(rj_app, None if real else MemoryBroker())
    url, management_url, remove = _vhost(request) if real else ("amqp://memory", None, None)
    store_url = f"sqlite:///{tmp_path / 'rabbitjobs.db'}"
    try:
        with rj_app.overridden(
            url=url, store_url=store_url, management_url=management_url, wire=trial.make_wire
        ):
            if real:
                rj_app.apply()
            yield trial
    finally:
        trial.close()
        if remove is not None:
            remove()


def _vhost(request: pytest.FixtureRequest) -> tuple[str, str, Any]:
    """A fresh vhost: its URL, the management URL, and how to remove it."""
    from functools import partial

    from rabbitjobs.broker.management import management_of
    from rabbitjobs.broker.url import parse_urls
    from rabbitjobs.clock import uuid7

    name = f"rj-{uuid7()}"
    given = os.environ.get("RABBITJOBS_TEST_URL")
    if given is None:
        node = request.getfixturevalue("rj_node")
        return node.create_vhost(name), node.management_url, partial(node.delete_vhost, name)
    address = parse_urls(given)[0]
    management = management_of(address, os.environ.get("RABBITJOBS_TEST_MANAGEMENT_URL"))
    with management:
        management.create_vhost(name)
        management.set_permissions(name, address.user, configure=".*", write=".*", read=".*")

    def remove() -> None:
        with management:
            management.delete_vhost(name)

    scheme, _, rest = given.partition("?")[0].partition("://")
    return f"{scheme}://{rest.partition('/')[0]}/{name}", management.url, remove
