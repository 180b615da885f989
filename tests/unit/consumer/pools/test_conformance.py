"""Each pool passes the suite that is shipped for pools of others."""

from __future__ import annotations

import pytest

from rabbitjobs.consumer.pools.local import LocalPool
from rabbitjobs.consumer.pools.processes import ProcessPool
from rabbitjobs.consumer.pools.solo import SoloPool
from rabbitjobs.testing.pool_conformance import MakePool, PoolConformance


class TestProcesses(PoolConformance):
    @pytest.fixture
    def make_pool(self) -> MakePool:
        return ProcessPool


class TestLocal(PoolConformance):
    """The pools ``asyncio`` and ``threads``."""

    @pytest.fixture
    def make_pool(self) -> MakePool:
        return LocalPool


class TestSolo(PoolConformance):
    room = 1

    @pytest.fixture
    def make_pool(self) -> MakePool:
        return SoloPool
