"""amqps:// to a real node: certificates are checked on both wires, and on the way to declare."""

from __future__ import annotations

import asyncio
import itertools
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote

import pytest

from rabbitjobs.broker.node import Node
from rabbitjobs.broker.url import parse_urls
from rabbitjobs.clock import uuid7
from rabbitjobs.errors import ConnectionLost, UrlRefused
from rabbitjobs.message.properties import Properties
from rabbitjobs.topology.amqp import connect
from rabbitjobs.wire.aio_pika import AioPikaWire
from rabbitjobs.wire.pika import PikaWire
from rabbitjobs.wire.protocol import CONFIRMED, Delivery, Outcome, Outgoing, Wire
from tests.certificates import Authority, Certified

Reach: TypeAlias = Callable[[str], Awaitable[None]]


async def work_over(wire: Wire, url: str) -> None:
    """Publish a message, confirmed, and get it back."""
    exchange, queue = "amq.topic", f"tmp-{uuid7()}"
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[Outcome] = loop.create_future()
    arrived: asyncio.Future[Delivery] = loop.create_future()
    try:
        async with asyncio.timeout(60):
            await wire.open(parse_urls(url)[0], name="tls")
            await wire.temporary_queue(queue, exchange=exchange, keys=[queue])
            consumer = await wire.consume(
                queue, prefetch=1, deliver=arrived.set_result, cancelled=lambda _: None
            )
            message = Outgoing(exchange, queue, Properties(message_id=uuid7()), b"sealed")
            wire.publish(message, outcome.set_result)
            assert await outcome is CONFIRMED
            delivery = await arrived
            assert delivery.body == b"sealed"
            consumer.ack(delivery.tag)
            await consumer.sync()
    finally:
        await wire.close()


async def declare_over(url: str) -> None:
    """What topology apply and verify do."""

    def ask() -> None:
        with connect(url) as amqp:
            assert amqp.has_exchange("amq.topic")

    await asyncio.to_thread(ask)


WAYS: dict[str, Reach] = {
    "pika": lambda url: work_over(PikaWire(), url),
    "aio-pika": lambda url: work_over(AioPikaWire(), url),
    "declaring": declare_over,
}


@pytest.fixture(params=WAYS.values(), ids=list(WAYS))
def reach(request: pytest.FixtureRequest) -> Reach:
    """Use the broker at a URL by each of our ways to it."""
    found: Reach = request.param
    return found


def trusting(url: str, authority: Authority, **options: object) -> str:
    """The URL with an authority to trust, and with further options."""
    given = {"cacertfile": authority.cert, **options}
    return f"{url}?{'&'.join(f'{name}={quote(str(value))}' for name, value in given.items())}"


async def refused(reach: Reach, url: str, *, said: str, do: str) -> None:
    """No connection; the text says why and what to do, and shows no password."""
    with pytest.raises(ConnectionLost, match=f"(?is)(?:{said}).*{do}") as error:
        await reach(url)
    password = parse_urls(url)[0].password.reveal()
    assert password not in str(error.value)


@contextmanager
def showing(node: Node, shown: Certified, usual: Certified) -> Iterator[None]:
    """The node answers with another certificate for a while."""

    def show(what: Certified) -> None:
        for name, source in (("cert", what.cert), ("key", what.key)):
            (node.folder / "tls" / f"{name}.pem").write_bytes(source.read_bytes())
        node.eval("ssl:clear_pem_cache().")

    show(shown)
    try:
        yield
    finally:
        show(usual)


async def test_a_broker_of_a_trusted_authority_is_worked_with(
    reach: Reach, tls_node: Node, authority: Authority
) -> None:
    """Also under another name that its certificate has, and with RabbitMQ's own word for it."""
    url = tls_node.tls_url()
    await reach(trusting(url, authority))
    await reach(
        trusting(url, authority, server_name_indication="broker.test", verify="verify_peer")
    )


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_node_speaks_tls_1_2_and_1_3(
    tls_node: Node, authority: Authority, version: ssl.TLSVersion
) -> None:
    """Nothing older."""
    address = parse_urls(trusting(tls_node.tls_url(), authority))[0]
    context = address.ssl_context()
    assert context is not None and context.minimum_version == ssl.TLSVersion.TLSv1_2
    context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection((address.host, address.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=address.host) as sealed,
    ):
        assert sealed.version() == version.name.replace("_", ".")


async def test_an_authority_that_is_not_trusted_is_refused(
    reach: Reach, tls_node: Node, stranger: Authority
) -> None:
    """Neither the system's authorities nor another one signed it."""
    for url in (tls_node.tls_url(), trusting(tls_node.tls_url(), stranger)):
        await refused(reach, url, said="certificate verify failed", do=r"broker\.ca in the config")


async def test_a_certificate_for_another_host_is_refused(
    reach: Reach, tls_node: Node, authority: Authority
) -> None:
    """By the host of the URL, and by the name that was asked for."""
    url = trusting(tls_node.tls_url(), authority)
    for wrong in (
        url.replace("127.0.0.1", "localhost"),
        f"{url}&server_name_indication=other.test",
    ):
        await refused(reach, wrong, said="mismatch", do="server_name_indication=NAME")


async def test_an_expired_certificate_is_refused(
    tls_node: Node, authority: Authority, server_certificate: Certified
) -> None:
    """Of the right authority, for the right host; by each of our ways."""
    expired = authority.certify(f"expired-{uuid7()}", "127.0.0.1", expired=True)
    with showing(tls_node, expired, server_certificate):
        url = trusting(tls_node.tls_url(), authority)
        for reach in WAYS.values():
            await refused(reach, url, said="has expired", do="renew the broker's certificate")
    for reach in WAYS.values():
        await reach(trusting(tls_node.tls_url(), authority))


async def test_a_self_signed_certificate_is_refused(
    tls_node: Node, authority: Authority, stranger: Authority, server_certificate: Certified
) -> None:
    """With and without an authority of our own; by each of our ways."""
    with showing(tls_node, stranger.self_signed(), server_certificate):
        urls = (tls_node.tls_url(), trusting(tls_node.tls_url(), authority))
        for reach, url in itertools.product(WAYS.values(), urls):
            await refused(reach, url, said="self-signed", do=r"broker\.ca in the config")


async def test_a_port_without_tls_is_told(reach: Reach, tls_node: Node) -> None:
    """amqps:// to the plain port."""
    url = tls_node.url.replace("amqp:", "amqps:")
    await refused(reach, url, said="wrong version number", do="5671")


async def test_a_client_s_certificate_opens_a_broker_that_asks_for_one(
    reach: Reach, mutual_node: Node, authority: Authority
) -> None:
    """Certificate and key in two files, or in one."""
    own = authority.certify(f"client-{uuid7()}", "jobs.test")
    url = mutual_node.tls_url()
    await reach(trusting(url, authority, certfile=own.cert, keyfile=own.key))
    both = own.cert.with_suffix(".both.pem")
    both.write_text(own.cert.read_text() + own.key.read_text())
    await reach(trusting(url, authority, certfile=both))


async def test_without_a_client_s_certificate_such_a_broker_is_closed(
    reach: Reach, mutual_node: Node, authority: Authority
) -> None:
    """The text names the options."""
    url = trusting(mutual_node.tls_url(), authority)
    await refused(
        reach, url, said="certificate required|reset|EOF occurred", do="broker.cert and broker.key"
    )


async def test_a_client_s_certificate_of_a_stranger_or_of_yesterday_is_refused(
    reach: Reach, mutual_node: Node, authority: Authority, stranger: Authority
) -> None:
    """The broker checks as we do."""
    url = mutual_node.tls_url()
    for own in (
        stranger.certify(f"client-{uuid7()}", "jobs.test"),
        authority.certify(f"late-{uuid7()}", "jobs.test", expired=True),
    ):
        wrong = trusting(url, authority, certfile=own.cert, keyfile=own.key)
        await refused(
            reach, wrong, said="alert|reset|EOF occurred", do="refuses our client certificate"
        )


@pytest.mark.parametrize("what", ["missing", "not PEM", "another key", "passphrase", "key alone"])
async def test_files_that_cannot_be_used_are_named(
    what: str, reach: Reach, authority: Authority, tmp_path: Path
) -> None:
    """Before anything is sent, and nobody is asked for a passphrase on the terminal."""
    own = authority.certify(f"client-{uuid7()}", "jobs.test")
    other = authority.certify(f"other-{uuid7()}", "jobs.test")
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    locked = tmp_path / "locked.pem"
    locked.write_text(_locked(own.key.read_text()))
    options, named = {
        "missing": ({"cacertfile": tmp_path / "none.pem"}, "none.pem"),
        "not PEM": ({"cacertfile": junk}, "junk.pem"),
        "another key": ({"certfile": own.cert, "keyfile": other.key}, other.key.name),
        "passphrase": ({"certfile": own.cert, "keyfile": locked}, "passphrase"),
        "key alone": ({"keyfile": own.key}, "certfile=PATH"),
    }[what]
    url = "amqps://u:p@127.0.0.1:1/"
    with pytest.raises(UrlRefused, match=named):
        await reach(trusting(url, authority, **options))


def _locked(key: str) -> str:
    from cryptography.hazmat.primitives import serialization as forms

    return (
        forms.load_pem_private_key(key.encode(), None)
        .private_bytes(
            forms.Encoding.PEM,
            forms.PrivateFormat.PKCS8,
            forms.BestAvailableEncryption(b"secret"),
        )
        .decode()
    )
