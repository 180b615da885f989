"""A consumer whose deliveries vanish on the way is noticed and rebuilt, on both wires."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rabbitjobs.broker.node import Node
from rabbitjobs.wire import subscription
from tests.pitfalls.shop import MakeWire, shop
from tests.pitfalls.test_consuming import port_of

_DELIVER = b"\x00\x3c\x00\x3c"
_CONSUME = b"\x00\x3c\x00\x14"


class Thief:
    """A proxy that reads frames. While it steals from a connection, no delivery gets through.

    It stops stealing from a connection when a new consumer is started there, if ``relents``.
    """

    def __init__(self, target: int, *, relents: bool) -> None:
        self.port = 0
        self.accepted = 0
        self.stolen = 0
        self._target = target
        self._relents = relents
        self._marks: set[int] = set()
        self._consuming: set[int] = set()
        self._writers: list[asyncio.StreamWriter] = []

    def steal(self) -> None:
        """Begin, on the connections that consume now."""
        self._marks = set(self._consuming)

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client."""
        self.accepted += 1
        number = self.accepted
        answers, server = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers += [writer, server]
        server.write(await reader.readexactly(8))
        await asyncio.gather(
            self._pump(reader, server, number, from_client=True),
            self._pump(answers, writer, number, from_client=False),
        )

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        number: int,
        *,
        from_client: bool,
    ) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readexactly(7)
                rest = await reader.readexactly(int.from_bytes(head[3:7], "big") + 1)
                if from_client:
                    self._hear(number, head, rest)
                elif self._steals(number, head, rest):
                    continue
                writer.write(head + rest)
                await writer.drain()
        writer.close()

    def _hear(self, number: int, head: bytes, rest: bytes) -> None:
        if head[0] == 1 and rest.startswith(_CONSUME):
            self._consuming.add(number)
            if self._relents:
                self._marks.discard(number)

    def _steals(self, number: int, head: bytes, rest: bytes) -> bool:
        """On a connection that only consumes, every content belongs to a delivery."""
        if number not in self._marks:
            return False
        delivery = head[0] == 1 and rest.startswith(_DELIVER)
        self.stolen += delivery
        return delivery or head[0] in (2, 3)

    def close(self) -> None:
        """Cut everything."""
        for writer in self._writers:
            writer.transport.abort()


@asynccontextmanager
async def thief(target: int, *, relents: bool) -> AsyncIterator[Thief]:
    made = Thief(target, relents=relents)
    server = await asyncio.start_server(made.take, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        made.close()


@pytest.mark.parametrize("relents", [True, False], ids=["consumer", "connection"])
async def test_a_stuck_consumer_is_noticed_and_rebuilt(
    node: Node,
    make_wire: MakeWire,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    relents: bool,
) -> None:
    """First the consumer, and if that does not help the connection; every job runs once."""
    monkeypatch.setattr(subscription, "LOOK_SECONDS", 0.5)
    async with (
        thief(port_of(node), relents=relents) as line,
        shop(node, tmp_path, make_wire, port=line.port) as found,
        found.working(slots=5),
    ):
        await found.send("before")
        await found.done()
        accepted = line.accepted
        line.steal()
        for number in range(20):
            await found.send(f"job {number}")
        await found.done()
        await found.empties()
        assert line.stolen >= 5
        assert line.accepted == accepted + (0 if relents else 1)
        said = [event.reason for event in found.said("ConsumerChanged")]
        assert any(reason.startswith("stuck: ") for reason in said)
        assert len(found.ran) == 21 and set(found.ran.values()) == {1}
