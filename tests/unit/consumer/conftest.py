"""The bench of the consumer's tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import tenacity

from rabbitjobs.wire import link as link_module
from tests.unit.consumer.bench import Bench


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    """Not consuming yet."""
    monkeypatch.setattr(link_module, "SHORT_LIFE_SECONDS", 0.01)
    monkeypatch.setattr(tenacity, "wait_random_exponential", lambda **_: lambda _: 0.01)
    bench = Bench()
    yield bench
    await bench.drain(0)
    await asyncio.to_thread(bench.session.close)
