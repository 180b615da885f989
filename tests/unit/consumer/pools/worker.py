"""A worker of its own, to be killed: prints the process ids of its server and its child."""

from __future__ import annotations

import asyncio
import sys

from rabbitjobs.consumer.context import Context
from rabbitjobs.consumer.pools.processes import ProcessPool
from rabbitjobs.consumer.pools.protocol import PoolOptions
from rabbitjobs.message.arguments import encode_body
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.testing.pools.jobs import JOBS
from rabbitjobs.testing.pools.kit import PROGRAM


async def main(folder: str) -> None:
    pool = ProcessPool(PoolOptions(size=1, program=PROGRAM))
    pool.start()

    async def run(job: str, *args: str) -> bytes | None:
        known = JOBS.get(job)
        assert known is not None
        envelope = Envelope(id="i", job=job, queue="q", body=encode_body(args, {}))
        return (await pool.run(known, envelope, Context.detached()))[0]

    print((await run("parent") or b"").decode(), (await run("pid") or b"").decode(), flush=True)
    await run("meet", folder, "here", "never")


asyncio.run(main(sys.argv[1]))
