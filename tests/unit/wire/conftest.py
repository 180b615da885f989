"""A scripted broker's certificate, made anew for each run."""

from __future__ import annotations

import dataclasses
import ssl

import pytest

from tests.certificates import Authority


@dataclasses.dataclass(frozen=True)
class Served:
    """What the broker of these tests shows: for the host name broker.test only."""

    context: ssl.SSLContext
    cafile: str


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """Made anew for each run."""
    authority = Authority(tmp_path_factory.mktemp("tls"))
    context = authority.certify("broker", "broker.test").server_context()
    return Served(context, str(authority.cert))
