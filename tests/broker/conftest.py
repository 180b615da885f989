"""Shops on a real broker: a module says with ``SHOP`` and ``TOPOLOGY`` what its own is like."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rabbitjobs.broker.node import Node
from tests.broker.crew import Crew, crew
from tests.brokers import wanted_version


@pytest.fixture
def shop(request: pytest.FixtureRequest, node: Node, tmp_path: Path) -> Iterator[Crew]:
    """The module's shop, on the run's node; nobody consumes yet."""
    with crew(node, tmp_path, request.module.SHOP, request.module.TOPOLOGY) as found:
        yield found


@pytest.fixture
def own_shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Crew]:
    """The module's shop on a node of its own, to be restarted or to raise alarms."""
    with (
        Node(version=wanted_version()) as node,
        crew(node, tmp_path, request.module.SHOP, request.module.TOPOLOGY) as found,
    ):
        yield found
