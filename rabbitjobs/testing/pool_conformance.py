"""The conformance suite of pools: every pool passes the same tests.

For a pool of your own, in a test module::

    from rabbitjobs.testing.pool_conformance import PoolConformance

    class TestMyPool(PoolConformance):
        @pytest.fixture
        def make_pool(self):
            return MyPool

where ``MyPool`` takes ``PoolOptions``; with pytest-asyncio in auto mode. Needs no broker.
"""

from __future__ import annotations

import pytest

_PARTS = ("ending", "running")
# Before they are imported, so that a failed assertion shows its values.
pytest.register_assert_rewrite(*(f"rabbitjobs.testing.pools.{part}" for part in _PARTS))

from rabbitjobs.testing.pools.ending import FailureConformance, ResultConformance  # noqa: E402
from rabbitjobs.testing.pools.kit import MakePool  # noqa: E402
from rabbitjobs.testing.pools.running import (  # noqa: E402
    ContextConformance,
    LimitConformance,
    SharingConformance,
    StopConformance,
)

__all__ = ["MakePool", "PoolConformance"]


class PoolConformance(
    ResultConformance,
    FailureConformance,
    ContextConformance,
    SharingConformance,
    StopConformance,
    LimitConformance,
):
    """What every pool does."""
