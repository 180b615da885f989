"""Each pool passes the suite that is shipped for pools of others."""

from __future__ import annotations

import pytest

from rabbitjobs.consumer.pools.processes import ProcessPool
from rabbitjobs.testing.pool_conformance import MakePool, PoolConformance


class TestProcesses(PoolConformance):
    @pytest.fixture
    def make_pool(self) -> MakePool:
        return ProcessPool
