"""A link keeps one connection: generations, host rotation, backoff, news for its listeners."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from rabbitjobs.broker.url import Address
from rabbitjobs.errors import ChannelClosed
from rabbitjobs.wire import link as module
from rabbitjobs.wire.link import Link
from rabbitjobs.wire.pika import PikaWire
from tests.unit.wire.scripted_wire import LOST, Heard, World, until


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that did not live long is replaced after a short pause."""
    monkeypatch.setattr(module, "SHORT_LIFE_SECONDS", 0.01)


@pytest.fixture
def world() -> World:
    """Scripted wires."""
    return World()


@pytest.fixture
async def link(world: World) -> AsyncIterator[Link]:
    """A link that has not started yet."""
    link = world.link(Address(host="a"), Address(host="b"))
    yield link
    await link.close()


async def test_each_connection_has_the_next_generation(world: World, link: Link) -> None:
    """Listeners hear of every end and of every beginning."""
    heard = Heard()
    link.listen(heard)
    link.start()
    await until(lambda: link.generation == 1)
    world.wire.closed("broken")
    await until(lambda: link.generation == 2)
    assert heard.said == [("up", 1), ("down", "broken"), ("up", 2)]
    assert world.wires[0].was_closed
    assert link.trouble is None


async def test_hosts_take_turns_until_one_answers(world: World, link: Link) -> None:
    """Whatever a library raises for a host that cannot be reached."""
    world.failures = [
        LOST,
        OSError("refused"),
        UnicodeError("label too long"),
        ChannelClosed("406"),
        AssertionError("a library's own"),
    ]
    heard = Heard()
    link.listen(heard)
    link.start()
    await until(lambda: link.generation == 1)
    assert [address.host for address in world.opened] == ["a", "b", "a", "b", "a", "b"]
    assert [what for what, _ in heard.said] == ["down"] * 5 + ["up"]
    assert all(wire.was_closed for wire in world.wires[:-1])


async def test_a_host_that_never_answers_is_given_up(
    world: World, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deadline of our own stands round opening."""
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.01)
    first = world.make

    async def never(address: Address, *, name: str) -> None:
        await asyncio.sleep(3600)

    def silent() -> object:
        wire = first()
        if len(world.wires) == 1:
            wire.open = never  # type: ignore[method-assign]
        return wire

    link._make_wire = silent  # type: ignore[assignment]
    link.start()
    await until(lambda: link.generation == 1)
    assert len(world.wires) == 2


async def test_a_port_that_accepts_and_says_nothing_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With pika's own connection, which is given up half-way through its handshake."""
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.05)
    tries: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(
        lambda _reader, writer: tries.append(writer), "127.0.0.1", 0
    )
    port: int = server.sockets[0].getsockname()[1]
    link = Link(PikaWire, [Address(port=port)], name="test", longest_pause=0.01)
    link.start()
    await until(lambda: len(tries) >= 3)
    assert "no answer" in (link.trouble or "")
    await link.close()
    server.close()
    for writer in tries:
        writer.close()


async def test_a_wire_that_breaks_while_closing_does_not_end_the_link(
    world: World, link: Link
) -> None:
    """Nor does a listener that raises; both are told to the loop's handler."""
    faults: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: faults.append(context["message"]))

    class Broken(Heard):
        def link_up(self, wire: object, generation: int) -> None:
            raise RuntimeError("listener")

    async def close() -> None:
        raise AssertionError("closing")

    heard = Heard()
    link.listen(Broken())
    link.listen(heard)
    link.start()
    await until(lambda: link.generation == 1)
    world.wire.close = close  # type: ignore[method-assign]
    world.wire.closed("broken")
    await until(lambda: link.generation == 2)
    assert ("up", 2) in heard.said
    await until(lambda: len(faults) == 3)
    loop.set_exception_handler(None)


async def test_a_late_listener_hears_how_things_stand(world: World, link: Link) -> None:
    """Also that publishing is blocked."""
    link.start()
    await until(lambda: link.generation == 1)
    world.wire.blocked(True)
    heard = Heard()
    link.listen(heard)
    assert heard.said == [("up", 1), ("blocked", True)]
    link.forget(heard)
    link.forget(heard)
    world.wire.blocked(False)
    assert len(heard.said) == 2


async def test_an_alarm_ends_with_its_connection(world: World, link: Link) -> None:
    """And an old connection, still being closed, says nothing about the new one."""
    link.start()
    await until(lambda: link.generation == 1)
    old = world.wire
    old.blocked(True)
    states = [link.blocked]
    old.closed("gone")
    await until(lambda: link.generation == 2)
    states.append(link.blocked)
    old.blocked(True)
    assert [*states, link.blocked] == [True, False, False]


async def test_an_alarm_told_while_connecting_is_heard(world: World, link: Link) -> None:
    """A memory broker and RabbitMQ may say it before the channel is open."""
    make = world.make

    def blocked_at_once() -> object:
        wire = make()

        async def open(address: Address, *, name: str) -> None:  # noqa: A001
            wire.blocked(True)

        wire.open = open  # type: ignore[method-assign]
        return wire

    link._make_wire = blocked_at_once  # type: ignore[assignment]
    heard = Heard()
    link.listen(heard)
    link.start()
    await until(lambda: link.generation == 1)
    assert heard.said == [("blocked", True), ("up", 1), ("blocked", True)]


async def test_a_connection_can_be_given_up_by_its_users(world: World, link: Link) -> None:
    """Open, but silent; twice does no harm."""
    link.renew("too early")
    link.start()
    await until(lambda: link.generation == 1)
    link.renew("silent")
    link.renew("silent")
    await until(lambda: link.generation == 2)


async def test_closing_ends_it_for_good(world: World, link: Link) -> None:
    """The connection too."""
    link.start()
    await until(lambda: link.generation == 1)
    await link.close()
    assert world.wire.was_closed
    assert link.wire is None
    world.wire.closed("late news")
    await asyncio.sleep(0)
    assert len(world.wires) == 1
