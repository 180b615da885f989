"""A socket that pika's wire opens is closed by it, at whatever moment connecting ends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.adapters.base_connection import BaseConnection
from pika.adapters.utils.io_services_utils import _AsyncStreamConnector

from rabbitjobs.broker.url import Address
from rabbitjobs.errors import ConnectionLost
from rabbitjobs.testing.wire.scripted import ScriptedBroker
from rabbitjobs.wire.pika import PikaWire
from tests.unit.wire.conftest import Served

# More turns of the loop than a whole handshake takes.
TURNS = 60
Opened = Callable[[], int]


@pytest.fixture
async def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    """How many sockets made here are open; names are resolved on the spot, so that turns count."""
    sockets: list[socket.socket] = []
    make = socket.socket.__init__

    def made(self: socket.socket, *args: Any, **options: Any) -> None:
        make(self, *args, **options)
        # Not what a server accepts; an SSLSocket takes the descriptor of the plain one.
        if options.get("fileno") is None or isinstance(self, ssl.SSLSocket):
            sockets.append(self)

    async def resolved(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))]

    monkeypatch.setattr(socket.socket, "__init__", made)
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolved)
    return lambda: sum(sock.fileno() != -1 for sock in sockets)


@asynccontextmanager
async def peer(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any],
) -> AsyncIterator[Address]:
    """Somebody on a port who is no broker."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield Address(host="127.0.0.1", port=server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await server.wait_closed()


async def given_up(address: Address, turns: int) -> None:
    """Connect, and change one's mind after so many turns of the loop."""
    wire = PikaWire()
    opening = asyncio.ensure_future(wire.open(address, name="test"))
    for _ in range(turns):
        await asyncio.sleep(0)
    opening.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await opening
    await wire.close()
    for _ in range(5):  # for whoever would go on behind our backs
        await asyncio.sleep(0)


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_giving_up_at_any_turn_of_the_handshake_leaves_no_socket(
    opened: Opened, served: Served, secure: bool
) -> None:
    """Nor one for the garbage collector to find."""
    async with ScriptedBroker(1, []).running(served.context if secure else None) as plain:
        address = Address(
            host="127.0.0.1",
            port=plain.port,
            tls=secure,
            cafile=served.cafile if secure else None,
            server_name="broker.test" if secure else None,
        )
        before = opened()
        for turns in range(TURNS):
            await given_up(address, turns)
            assert opened() == before, turns


async def test_a_peer_that_resets_at_once_is_told_at_once(opened: Opened) -> None:
    """pika's own connecting would wait for ever: its error went to the loop, and to nobody."""

    def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with peer(reset) as address:
        before = opened()
        for _ in range(20):
            wire = PikaWire()
            async with asyncio.timeout(30):
                with pytest.raises(ConnectionLost):
                    await wire.open(address, name="test")
            await wire.close()
            assert opened() == before


async def test_a_socket_that_is_dead_before_it_is_linked_is_an_error_and_no_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Connected, and cut before anybody looked."""

    async def dead(sock: socket.socket, _: Any) -> None:
        """Nothing is connected when this has ended."""

    monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", dead)
    with pytest.raises(ConnectionLost, match="getpeername"):
        await PikaWire().open(Address(host="127.0.0.1", port=9), name="test")
    gc.collect()


async def test_a_port_where_nobody_listens_is_named_with_the_systems_own_words() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = Address(host="127.0.0.1", port=free.getsockname()[1])
        with pytest.raises(ConnectionLost, match=r"127\.0\.0\.1.*Connection refused"):
            await PikaWire().open(address, name="test")


async def test_the_next_address_of_a_host_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with ``localhost``, whose first address nobody may listen on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        async with ScriptedBroker(1, []).running() as broker:
            ports = [free.getsockname()[1], broker.port]
            places = [
                (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port)) for port in ports
            ]

            async def resolved(*_: Any, **__: Any) -> list[Any]:
                return places

            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolved)
            wire = PikaWire()
            await wire.open(broker, name="test")
            await wire.close()


async def test_a_close_that_is_cancelled_closes_the_socket_all_the_same(opened: Opened) -> None:
    """A process that ends does not wait for a broker that says no goodbye."""
    async with ScriptedBroker(1, []).running() as broker:
        wire, before = PikaWire(), opened()
        await wire.open(broker, name="test")
        assert opened() == before + 1
        closing = asyncio.ensure_future(wire.close())
        await asyncio.sleep(0)
        closing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await closing
        assert opened() == before


def test_the_seam_in_pika_is_where_we_override_it() -> None:
    connect = inspect.getsource(AsyncioConnection._adapter_connect_stream)
    assert "AMQPConnectionWorkflow(" in connect and "_StreamingProtocolShim(self)" in connect
    assert "_abort_connection_workflow()" in inspect.getsource(
        BaseConnection._adapter_disconnect_stream
    )
    linkup = inspect.getsource(_AsyncStreamConnector._linkup)
    assert linkup.index("connection_made(") < linkup.index("_report_completion(")
    assert "_cleanup(close=True)" in inspect.getsource(_AsyncStreamConnector.cancel)
