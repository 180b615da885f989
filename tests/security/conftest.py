"""Shops under attack: one that signs its jobs, and one that does not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.brokers import Vhost
from tests.security.shop import SIGNING, Shop, opened


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
