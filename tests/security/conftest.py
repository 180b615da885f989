"""Authorities and nodes with a TLS port, and shops under attack."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from rabbitjobs.broker.layout import ServerTls
from rabbitjobs.broker.node import Node
from tests.brokers import Vhost, wanted_version
from tests.certificates import Authority, Certified
from tests.security.shop import SIGNING, Shop, opened


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that the nodes and their clients trust."""
    return Authority(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that nobody trusts."""
    return Authority(tmp_path_factory.mktemp("tls") / "stranger")


@pytest.fixture(scope="session")
def server_certificate(authority: Authority) -> Certified:
    """For 127.0.0.1 and broker.test; not for localhost."""
    return authority.certify("server", "127.0.0.1", "broker.test")


@pytest.fixture(scope="session")
def tls_node(authority: Authority, server_certificate: Certified) -> Iterator[Node]:
    """A node with a TLS port; clients need no certificate."""
    with _node(authority, server_certificate, clients_too=False) as node:
        yield node


@pytest.fixture(scope="session")
def mutual_node(authority: Authority, server_certificate: Certified) -> Iterator[Node]:
    """A node whose clients must show a certificate of our authority."""
    with _node(authority, server_certificate, clients_too=True) as node:
        yield node


def _node(authority: Authority, own: Certified, *, clients_too: bool) -> Node:
    tls = ServerTls(ca=authority.cert, cert=own.cert, key=own.key, clients_too=clients_too)
    return Node(version=wanted_version(), tls=tls)


@pytest.fixture
async def signed(vhost: Vhost, tmp_path: Path) -> AsyncIterator[Shop]:
    """Two keys, signatures required."""
    async with opened(vhost, tmp_path, SIGNING) as shop:
        yield shop


@pytest.fixture
async def plain(vhost: Vhost, tmp_path: Path) -> AsyncIterator[Shop]:
    """Without signing."""
    async with opened(vhost, tmp_path) as shop:
        yield shop
