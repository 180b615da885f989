"""The solo pool: one job at a time in the worker's own process, for debugging and odd libraries."""

from __future__ import annotations

import asyncio

import msgspec

from rabbitjobs.consumer.context import Context
from rabbitjobs.consumer.failure import failure_of
from rabbitjobs.consumer.pools.local import LocalPool
from rabbitjobs.consumer.pools.protocol import Ended, PoolOptions
from rabbitjobs.job.definition import Definition
from rabbitjobs.message.envelope import Envelope


class SoloPool:
    """One job at a time, whatever its kind; functions run on one thread, always the same."""

    def __init__(self, options: PoolOptions) -> None:
        self._local = LocalPool(msgspec.structs.replace(options, size=1))
        self._turn = asyncio.Lock()
        self._stopping = False

    def start(self) -> None:
        """See ``Pool``."""
        self._local.start()

    async def run(self, definition: Definition, envelope: Envelope, context: Context) -> Ended:
        """See ``Pool``."""
        if self._stopping:
            raise asyncio.CancelledError
        try:
            await self._turn.acquire()
        except asyncio.CancelledError as error:
            if self._stopping:
                raise
            return None, failure_of(error)
        try:
            return await self._local.run(definition, envelope, context)
        finally:
            self._turn.release()

    def stop(self) -> None:
        """See ``Pool``."""
        self._stopping = True
        self._local.stop()

    async def ended(self) -> None:
        """See ``Pool``."""
        await self._local.ended()
