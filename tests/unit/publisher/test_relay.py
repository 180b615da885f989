"""The relay runs for as long as its process, whatever the outbox holds."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from rabbitjobs.errors import StoreOutdated
from rabbitjobs.publisher import relay as module
from rabbitjobs.publisher.relay import Relay
from rabbitjobs.store.outbox import Outbox
from rabbitjobs.topology.model import default_spec
from rabbitjobs.wire.protocol import Outgoing


class BrokenOutbox:
    """Raises what it is told to, once each."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.asked = 0

    async def atake(self, _limit: int) -> list[object]:
        """Nothing, or the next error."""
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        return []


async def test_no_error_ends_the_relay_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what is wrong, and asks again."""
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.001)
    outbox = BrokenOutbox(StoreOutdated("run: rabbitjobs store migrate"), ValueError("a bad row"))
    said: list[str] = []

    async def publish(outgoing: Outgoing) -> None:
        raise AssertionError(outgoing)

    relay = Relay(
        cast(Outbox, outbox),
        spec=lambda: default_spec("shop", {}),
        publish=publish,
        trouble=said.append,
    )
    running = asyncio.create_task(relay.run())
    async with asyncio.timeout(60):
        while outbox.asked < 3:
            await asyncio.sleep(0.001)
    running.cancel()
    assert said == ["run: rabbitjobs store migrate", "ValueError('a bad row')", ""]
