"""Blocking calls and event loops do not mix: one check for all of them."""

from __future__ import annotations

import asyncio

from rabbitjobs.errors import SyncInAsync


def refuse_in_loop(name: str, twin: str) -> None:
    """Raise ``SyncInAsync`` when a loop runs in this thread: blocking would stop it."""
    if asyncio._get_running_loop() is not None:
        raise SyncInAsync(
            f"expected no running event loop, got one; await {twin}() instead of {name}()"
        )
