"""What cannot be put back stands in nobody's way, and every message is accounted for."""

from __future__ import annotations

import msgspec
import pytest

from rabbitjobs.backend.protocol import Status
from rabbitjobs.errors import ConnectionLost
from rabbitjobs.message.codec import encode
from rabbitjobs.message.properties import Properties
from rabbitjobs.publisher import putting_back as module
from rabbitjobs.publisher.putting_back import PutBack
from rabbitjobs.topology import names
from rabbitjobs.wire.protocol import Confirmed, Outgoing
from tests.security.shop import PATIENCE, Shop

FULL = 7


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each visitor holds seven."""
    monkeypatch.setattr(module, "PREFETCH", FULL)


async def quarantine(shop: Shop, properties: Properties, body: bytes) -> None:
    """As a worker would bring it there."""
    message = Outgoing(names.fail_exchange("shop"), "quarantine", properties, body)
    assert isinstance(await shop.app.publisher.apublish(message, PATIENCE), Confirmed)


async def unreadable(shop: Shop, count: int) -> None:
    """Messages that are no jobs."""
    for number in range(count):
        await quarantine(shop, Properties(message_id=f"no-{number}"), b"nothing")


async def job(shop: Shop, job_id: str, queue: str = "emails") -> None:
    """A job that went to quarantine."""
    envelope = msgspec.structs.replace(shop.envelope(job_id, job_id), queue=queue)
    await quarantine(shop, encode(envelope), envelope.body)


@pytest.mark.parametrize("count", [FULL - 1, FULL, 3 * FULL, 3 * FULL + 2])
async def test_jobs_behind_any_number_of_unreadable_messages_are_put_back(
    plain: Shop, count: int
) -> None:
    """A flood of rubbish had stopped the command for good; the rubbish is still there."""
    await unreadable(plain, count)
    await job(plain, "first")
    await unreadable(plain, 1)
    await job(plain, "second")
    done = await plain.put_back("quarantine")
    assert done == PutBack(sent=2, unreadable=count + 1, homeless=0, unseen=0)
    await plain.work()
    await plain.reaches(Status.SUCCEEDED, "first", "second")
    again = await plain.put_back("quarantine")
    assert again == PutBack(sent=0, unreadable=count + 1, homeless=0, unseen=0)
    await plain.standing("quarantine", count + 1)


async def test_past_its_bound_the_command_ends_and_says_what_it_has_not_seen(
    plain: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it is lost."""
    monkeypatch.setattr(module, "VISITORS", 2)
    await job(plain, "before")
    await unreadable(plain, 2 * FULL)
    await job(plain, "behind")
    done = await plain.put_back("quarantine")
    assert done == PutBack(sent=1, unreadable=2 * FULL, homeless=0, unseen=1)
    await plain.standing("quarantine", 2 * FULL + 1)


async def test_a_job_for_a_queue_that_is_gone_does_not_hold_up_the_others(plain: Shop) -> None:
    """It stays until somebody says where it should go."""
    await job(plain, "lost", queue="gone")
    await job(plain, "fine")
    done = await plain.put_back("quarantine")
    assert done == PutBack(sent=1, unreadable=0, homeless=1, unseen=0)
    assert (await plain.put_back("quarantine", to="images")).sent == 1
    await plain.standing("quarantine", 0)


async def test_when_sending_fails_everything_held_goes_back(
    plain: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By every visitor."""
    await unreadable(plain, 2 * FULL + 1)
    await job(plain, "stays")

    async def fail(message: Outgoing) -> None:
        raise ConnectionLost("expected a broker, got none")

    monkeypatch.setattr(plain.app.publisher, "confirmed", fail)
    with pytest.raises(ConnectionLost):
        await plain.put_back("quarantine")
    await plain.standing("quarantine", 2 * FULL + 2)
