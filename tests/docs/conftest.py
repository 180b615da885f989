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
def worker(reader: Reader) -> Iterator[subprocess.Popen[bytes]]:
    """A worker for the jobs of examples/greetings.py."""
    process = reader.start("-m", "rabbitjobs", "--app", "examples.greetings:app", "run", "--apply")
    yield process
    assert end(process) == 0, reader.log()
