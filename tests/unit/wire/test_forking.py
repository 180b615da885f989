"""A forked child has no part in its parent's connection."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rabbitjobs.testing.wire.scripted import ScriptedBroker
from tests.unit.wire.conftest import Served

FORKING = """
import asyncio, os, signal, sys
from rabbitjobs.broker.url import Address
from rabbitjobs.wire.aio_pika import AioPikaWire
from rabbitjobs.wire.pika import PikaWire

async def main(make_wire, port, tls, cafile):
    wire = make_wire()
    where = {"host": "127.0.0.1", "port": port, "server_name": "broker.test"}
    await wire.open(Address(tls=tls, cafile=cafile, **where), name="test")
    if os.fork() == 0:
        sys.stdin.read()               # a child of a job that outlives its worker
        os._exit(0)
    await wire._channel()              # the parent's connection is as good as before
    print("both are there", flush=True)
    await asyncio.sleep(60)

make_wire = {"pika": PikaWire, "aio-pika": AioPikaWire}[sys.argv[4]]
asyncio.run(main(make_wire, int(sys.argv[1]), sys.argv[2] == "tls", sys.argv[3]))
"""


class Listening(ScriptedBroker):
    """Notes when its client's connection has ended."""

    def __init__(self) -> None:
        super().__init__(1, [])
        self.ended = asyncio.Event()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):  # a reset is an end too
            await super()._serve(reader, writer)
        self.ended.set()


@contextmanager
def forking(port: int, kind: str, cafile: str, wire: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is connected, and a child of it that lives until this block is left."""
    with subprocess.Popen(
        [sys.executable, "-c", FORKING, str(port), kind, cafile, wire],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    ) as process:
        assert process.stdin is not None
        try:
            yield process
        finally:
            process.kill()
            process.stdin.close()  # which ends the child


@pytest.mark.parametrize("wire", ["pika", "aio-pika"])
@pytest.mark.parametrize("kind", ["plain", "tls"])
async def test_a_killed_parents_connection_ends_though_its_child_lives_on(
    kind: str, wire: str, served: Served
) -> None:
    """So the broker sends its jobs to others at once, and not at the missing heartbeat."""
    broker = Listening()
    async with broker.running(served.context if kind == "tls" else None) as address:
        with forking(address.port, kind, served.cafile, wire) as process:
            assert process.stdout is not None
            said = await asyncio.to_thread(process.stdout.readline)
            assert said == b"both are there\n"
            assert not broker.ended.is_set()
            process.kill()
            async with asyncio.timeout(15):  # a heartbeat of 10 s would end it after 20
                await broker.ended.wait()
