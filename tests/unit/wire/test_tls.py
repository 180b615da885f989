"""Certificates are checked: by whom they are signed, and for which host."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from rabbitjobs.broker.url import Address
from rabbitjobs.errors import ConnectionLost
from rabbitjobs.testing.wire.scripted import ScriptedBroker
from rabbitjobs.wire.aio_pika import AioPikaWire
from rabbitjobs.wire.pika import PikaWire
from rabbitjobs.wire.protocol import Wire
from tests.unit.wire.conftest import Served


@pytest.fixture(params=[PikaWire, AioPikaWire], ids=["pika", "aio-pika"])
def make_wire(request: pytest.FixtureRequest) -> Callable[[], Wire]:
    made: Callable[[], Wire] = request.param
    return made


async def open_and_close(make_wire: Callable[[], Wire], served: Served, **tls: Any) -> None:
    async with ScriptedBroker(1, []).running(served.context) as plain:
        address: Address = dataclasses.replace(plain, tls=True, **tls)
        wire = make_wire()
        async with asyncio.timeout(20):
            try:
                await wire.open(address, name="tls")
            finally:
                await wire.close()


async def test_a_certificate_of_the_given_authority_for_the_given_host_is_taken(
    make_wire: Callable[[], Wire], served: Served
) -> None:
    await open_and_close(make_wire, served, cafile=served.cafile, server_name="broker.test")


async def test_a_certificate_that_nobody_we_know_has_signed_is_refused(
    make_wire: Callable[[], Wire], served: Served
) -> None:
    with pytest.raises(ConnectionLost, match=r"(?i)certificate|ssl"):
        await open_and_close(make_wire, served, server_name="broker.test")


async def test_a_certificate_for_another_host_is_refused(
    make_wire: Callable[[], Wire], served: Served
) -> None:
    with pytest.raises(ConnectionLost, match=r"(?i)certificate|hostname|ssl"):
        await open_and_close(make_wire, served, cafile=served.cafile, server_name="other.test")
    with pytest.raises(ConnectionLost, match=r"(?i)certificate|address|ssl"):
        await open_and_close(make_wire, served, cafile=served.cafile)
