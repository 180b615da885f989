"""What a consumer's hold on its queue tells the I/O thread, and when."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, cast

import pytest

from rabbitjobs import events
from rabbitjobs.consumer import attachment as module
from rabbitjobs.consumer.attachment import Attachment
from rabbitjobs.message.properties import Properties
from rabbitjobs.wire.portal import Portal
from rabbitjobs.wire.protocol import Delivery
from rabbitjobs.wire.session import Session
from rabbitjobs.wire.subscription import Handed


class Told:
    """The side of the broker: a portal, a session and a subscription that write down."""

    def __init__(self) -> None:
        self.posts = 0
        self.heard: list[object] = []
        self.acked = threading.Event()
        self.portal = cast(Portal, self)

    def post(self, call: Callable[..., object], *args: Any) -> None:
        """See ``Portal.post``."""
        self.posts += 1
        call(*args)

    async def run(self, work: Any) -> Any:
        """See ``Portal.run``."""
        return await work

    def ack(self, handed: Handed) -> None:
        """See ``Subscription.ack``."""
        self.heard.append(handed.delivery.tag)
        self.acked.set()

    async def finish(self) -> None:
        """See ``Subscription.finish``."""
        self.heard.append("finish")


@pytest.fixture
async def told() -> Told:
    """Nothing is told yet."""
    return Told()


@pytest.fixture
async def attachment(told: Told, monkeypatch: pytest.MonkeyPatch) -> Attachment:
    """One that is subscribed."""
    made = Attachment(
        name="q",
        queue="shop.q.q",
        session=cast(Session, told),
        prefetch=8,
        take=lambda _handed: None,
        bus=events.Bus(),
    )
    monkeypatch.setattr(made, "_subscription", told)
    monkeypatch.setattr(made, "_loop", asyncio.get_running_loop(), raising=False)
    return made


def handed(tag: int) -> Handed:
    """A delivery with this tag."""
    return Handed(Delivery(tag, "", "", False, Properties(), b""), 1)


async def test_what_one_turn_of_the_loop_settles_is_told_at_once(
    told: Told, attachment: Attachment
) -> None:
    """In the order of the calls, with one wake-up of the I/O thread; and nothing is told twice."""
    for tag in (1, 2, 3):
        attachment.ack(handed(tag))
    assert told.posts == 0
    await asyncio.sleep(0)
    assert (told.posts, told.heard) == (1, [1, 2, 3])
    attachment.ack(handed(4))
    await asyncio.sleep(0)
    assert (told.posts, told.heard) == (2, [1, 2, 3, 4])


async def test_what_was_settled_is_told_before_the_channel_is_finished(
    told: Told, attachment: Attachment
) -> None:
    """An ack that came after it would be lost, and its job would run again."""
    attachment.ack(handed(1))
    await attachment.finish()
    assert told.heard == [1, "finish"]
    await asyncio.sleep(0)
    assert told.heard == [1, "finish"]


async def test_a_job_that_blocks_the_loop_holds_no_acks_back(
    told: Told, attachment: Attachment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The I/O thread comes for them; and what it took is not told again."""
    monkeypatch.setattr(module, "BLOCKED_SECONDS", 0.01)
    portal = Portal()
    told.portal = portal
    monkeypatch.setattr(attachment, "_session", told)
    portal.post(attachment._look_for_settled)
    attachment.ack(handed(1))
    assert told.acked.wait(60)  # nothing else runs on this loop meanwhile
    await asyncio.sleep(0)
    await attachment.finish()
    portal.close()
    assert told.heard == [1, "finish"]


async def test_an_ack_that_fails_holds_back_no_later_one(
    told: Told, attachment: Attachment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker would hear of none any more, and deliver nothing once the prefetch is full."""
    monkeypatch.setattr(module, "BLOCKED_SECONDS", 0.01)
    portal = Portal()
    portal.loop.set_exception_handler(lambda _loop, _context: None)
    ack = told.ack

    def fail_at_two(handed: Handed) -> None:
        if handed.delivery.tag in (1, 2):
            raise RuntimeError("a fault of the client")
        ack(handed)

    monkeypatch.setattr(told, "ack", fail_at_two)
    told.portal = portal
    for tag in (1, 2, 3):
        attachment.ack(handed(tag))
    portal.post(attachment._look_for_settled)
    assert await asyncio.to_thread(told.acked.wait, 60)
    attachment.ack(handed(4))
    await attachment.finish()
    portal.close()
    assert told.heard == [3, 4, "finish"]
