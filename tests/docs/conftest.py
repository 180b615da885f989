"""A vhost, a folder and a worker for the examples, which run as their readers run them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.brokers import Vhost
from tests.docs.reader import ROOT, Reader, end


@pytest.fixture
def reader(vhost: Vhost, tmp_path: Path) -> Reader:
    """A reader with a vhost and a store of their own."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "RABBITJOBS_URL": vhost.url,
        "RABBITJOBS_MANAGEMENT_URL": vhost.broker.management_url,
        "RABBITJOBS_STORE_URL": f"sqlite:///{tmp_path / 'store.db'}",
    }
    return Reader(tmp_path, environment)


@pytest.fixture
def cloner(reader: Reader) -> Reader:
    """A reader in the root of the clone, where ./config is the shop's, as the examples say."""
    environment = {key: value for key, value in reader.environment.items() if key != "PYTHONPATH"}
    return Reader(ROOT, environment, output=reader.folder)


@pytest.fixture
def worker(cloner: Reader) -> Iterator[subprocess.Popen[bytes]]:
    """Every role for the jobs of examples/greetings.py, by the command of its docstring."""
    process = cloner.start("-m", "rabbitjobs", "--app", "examples.greetings:app", "dev")
    yield process
    assert end(process) == 0, cloner.log()
