"""The gates of the tests here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.unit.consumer.bench import Bench
from tests.unit.consumer.limits.gated import Gated


@pytest.fixture
async def gated(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gated]:
    """Not consuming yet; the record of an ending ends its lease."""
    made = Gated(bench)
    monkeypatch.setattr(bench.memory, "record", made.record)
    yield made
    for consumer in made.consumers:
        await consumer.drain(1.0, asyncio.Event())
