"""What the tests of the suite have in common: a pool with the suite's jobs, and calls of them."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from rabbitjobs.consumer.context import Context
from rabbitjobs.consumer.pools.protocol import Ended, Pool, PoolOptions, Program
from rabbitjobs.message.arguments import encode_body
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.policy.decision import Failure
from rabbitjobs.testing.pools.jobs import JOBS

MakePool = Callable[[PoolOptions], Pool]
PROGRAM = Program("rabbitjobs.testing.pools.jobs:registry")
# A test that waits longer than this for something that must come has failed.
PATIENCE = 30.0
_numbers = itertools.count(1)


class Bench:
    """Pools with the suite's jobs; what they report and note is kept."""

    def __init__(self, make_pool: MakePool) -> None:
        self._make_pool = make_pool
        self._pools: list[Pool] = []
        self.progress: list[tuple[str, Any]] = []
        self.reports: list[str] = []
        self.contexts: list[Context] = []
        self.news = asyncio.Event()

    def pool(self, *, size: int = 2, **options: Any) -> Pool:
        """A started pool; the last one made is what ``run`` uses."""
        wanted = PoolOptions(
            size=size,
            program=options.pop("program", PROGRAM),
            note_progress=self._note,
            report=self._report,
            **options,
        )
        pool = self._make_pool(wanted)
        pool.start()
        self._pools.append(pool)
        return pool

    async def run(self, job: str, *args: Any, **more: Any) -> Ended:
        """Run one attempt of a job of the suite."""
        definition = JOBS.get(job)
        assert definition is not None
        body = more.pop("body", None) or encode_body(args, {})
        number = next(_numbers)
        envelope = Envelope(id=f"id-{number}", job=job, queue="q", body=body)
        envelope = msgspec.structs.replace(envelope, **more)
        context = Context(envelope, self._note)
        self.contexts.append(context)
        pool = self._pools[-1]
        async with asyncio.timeout(PATIENCE):  # a task for each attempt, as in the consumer
            return await asyncio.create_task(pool.run(definition, envelope, context))

    async def value(self, job: str, *args: Any, **more: Any) -> Any:
        """What it returns; it must succeed."""
        result, failure = await self.run(job, *args, **more)
        assert failure is None, failure
        return None if result is None else json.loads(result)

    async def failure(self, job: str, *args: Any, **more: Any) -> Failure:
        """How it fails; it must."""
        result, failure = await self.run(job, *args, **more)
        assert failure is not None, result
        assert result is None
        return failure

    async def end(self) -> None:
        """Stop every pool and see it out."""
        for pool in self._pools:
            pool.stop()
        async with asyncio.timeout(PATIENCE):
            for pool in self._pools:
                await pool.ended()

    def _note(self, job_id: str, progress: bytes) -> None:
        self.progress.append((job_id, msgspec.json.decode(progress)))

    def _report(self, reason: str) -> None:
        self.reports.append(reason)
        self.news.set()


class PoolFixtures:
    """The fixtures of the suite; ``make_pool`` is yours."""

    room = 2
    """How many jobs a pool of size 2 runs at a time."""

    @pytest.fixture
    async def bench(self, make_pool: MakePool) -> AsyncIterator[Bench]:
        """A bench whose pools are gone after the test."""
        bench = Bench(make_pool)
        yield bench
        await bench.end()


async def there(path: Any) -> None:
    """Wait until a job has made a file."""
    async with asyncio.timeout(PATIENCE):
        while not path.exists():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
