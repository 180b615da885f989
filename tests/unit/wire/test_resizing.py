"""Another prefetch for a consumer that works: an old and a new one, and nothing is lost between."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from rabbitjobs.errors import ChannelClosed
from rabbitjobs.wire import adjustable
from rabbitjobs.wire import link as link_module
from tests.unit.wire.reader import ChangingReader
from tests.unit.wire.scripted_wire import until


@pytest.fixture
async def reader(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ChangingReader]:
    """Who may hold three."""
    monkeypatch.setattr(link_module, "SHORT_LIFE_SECONDS", 0.01)
    monkeypatch.setattr(adjustable, "FILL_SECONDS", 0.05)
    made = ChangingReader(prefetch=3)
    made.link.start()
    await made.consuming()
    yield made
    await made.stop()


async def test_a_full_consumer_is_replaced_and_its_messages_stay_out(
    reader: ChangingReader,
) -> None:
    """They are settled where they came from, and only then it is closed."""
    first = reader.wire.consumers[0]
    for tag in (1, 2, 3):
        first.deliver(tag)
    await until(lambda: len(reader.handed) == 3)
    reader.subscription.resize(8)
    await reader.consuming(2)
    assert first.cancelled_by_us and not first.closed
    for handed in reader.handed:
        reader.subscription.ack(handed)
    await until(lambda: first.closed)
    assert [one for one in first.told if one[0] == "ack"] == [("ack", 1), ("ack", 2), ("ack", 3)]
    assert reader.subscription.stale == 0


async def test_it_fills_up_before_it_is_cancelled(
    reader: ChangingReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ack that frees a place would have the queue hand over what nobody gets."""
    first = reader.wire.consumers[0]
    told_at_the_cancel: list[list[tuple[str, int]]] = []
    cancel = first.cancel

    async def watched() -> None:
        told_at_the_cancel.append(list(first.told))
        await cancel()

    monkeypatch.setattr(first, "cancel", watched)
    for tag in (1, 2):
        first.deliver(tag)
    await until(lambda: len(reader.handed) == 2)
    reader.subscription.resize(1)
    await until(lambda: reader.subscription._window.filling is not None)
    reader.subscription.ack(reader.handed[0])
    first.deliver(3)
    await reader.consuming(2)
    assert told_at_the_cancel == [[]]
    assert ("upto", 1) in first.told
    reader.subscription.ack(reader.handed[1])
    reader.subscription.ack(reader.handed[2])
    await until(lambda: first.closed)


async def test_an_idle_consumer_is_not_waited_for_long(reader: ChangingReader) -> None:
    """There is nothing to fill it."""
    reader.subscription.resize(9)
    await reader.consuming(2)
    await until(lambda: reader.wire.consumers[0].closed)
    assert reader.subscription._asked == 9


async def test_the_last_of_many_sizes_holds(reader: ChangingReader) -> None:
    """Asked for while the one before is being made."""
    for size in (5, 6, 7):
        reader.subscription.resize(size)
    await until(lambda: reader.subscription._asked == 7)
    reader.subscription.resize(7)
    await until(lambda: sum(not one.closed for one in reader.wire.consumers) == 1)


async def test_a_connection_that_breaks_meanwhile_brings_the_new_size(
    reader: ChangingReader,
) -> None:
    """Nothing is held back for ever."""
    reader.wire.consumers[0].silent = True
    reader.subscription.resize(4)
    reader.wire.closed("gone")
    await reader.consuming(2)
    assert reader.subscription._asked == 4
    reader.wire.consumers[0].deliver(1)
    await until(lambda: len(reader.handed) == 1)
    reader.subscription.ack(reader.handed[0])
    await until(lambda: ("upto", 1) in reader.wire.consumers[0].told)


async def test_a_channel_that_closes_meanwhile_is_told(
    reader: ChangingReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it held comes again: whoever works on it must hear that it is not ours any more."""
    first = reader.wire.consumers[0]

    async def closed() -> None:
        raise ChannelClosed("PRECONDITION_FAILED - delivery timed out", code=406, queue="q")

    monkeypatch.setattr(first, "cancel", closed)
    first.deliver(1)
    await until(lambda: reader.handed)
    reader.subscription.resize(5)
    await reader.consuming(2)
    assert len(reader.said("failed")) == 1
    reader.subscription.ack(reader.handed[0])
    assert reader.subscription.stale == 1
