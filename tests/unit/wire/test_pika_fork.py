"""A forked child has no part in its parent's connection."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import ssl
import sys
from pathlib import Path

import pytest

from rabbitjobs.testing.wire.scripted import ScriptedBroker
from tests.unit.wire.test_tls import CERTIFICATE, KEY

FORKING = """
import asyncio, os, signal, sys
from rabbitjobs.broker.url import Address
from rabbitjobs.wire.pika import PikaWire

async def main(port, tls, cafile):
    wire = PikaWire()
    address = Address(
        host="127.0.0.1", port=port, tls=tls, cafile=cafile, server_name="broker.test"
    )
    await wire.open(address, name="test")
    if os.fork() == 0:
        sys.stdin.read()               # a child of a job that outlives its worker
        os._exit(0)
    await wire._channel()              # the parent's connection is as good as before
    print("both are there", flush=True)
    await asyncio.sleep(60)

asyncio.run(main(int(sys.argv[1]), sys.argv[2] == "tls", sys.argv[3]))
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


@pytest.mark.parametrize("kind", ["plain", "tls"])
async def test_a_killed_parents_connection_ends_though_its_child_lives_on(kind: str) -> None:
    """So the broker sends its jobs to others at once, and not at the missing heartbeat."""
    context = None
    if kind == "tls":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE, KEY)
    broker = Listening()
    async with broker.running(context) as address:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", FORKING, str(address.port), kind, str(CERTIFICATE)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        )
        assert process.stdin is not None and process.stdout is not None
        async with asyncio.timeout(30):
            assert await process.stdout.readline() == b"both are there\n"
        assert not broker.ended.is_set()
        process.send_signal(signal.SIGKILL)
        async with asyncio.timeout(5):  # a heartbeat of 10 s would end it after 20
            await broker.ended.wait()
        process.stdin.close()
        await process.wait()
