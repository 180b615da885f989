"""The notifier: ten thousand failures are a handful of mails, and none is lost."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from rabbitjobs.errors import NotifyUnavailable, StoreUnavailable
from rabbitjobs.notify.channels import build
from rabbitjobs.notify.note import Completion, Note
from rabbitjobs.notify.notifier import Notifier
from rabbitjobs.notify.options import (
    LogOptions,
    MailOptions,
    NotifyOptions,
    OnDoneOptions,
    WebhookOptions,
)
from rabbitjobs.notify.rate import Rate
from rabbitjobs.notify.wording import Message

if TYPE_CHECKING:
    from tests.unit.notify.conftest import Mailbox, Receiver

QUICK = Rate(messages=10, per=timedelta(minutes=1), digest=timedelta(milliseconds=300), hold=2000)


class Recording:
    """A channel that records what it is given, and fails as often as it is told."""

    capped = True

    def __init__(self, name: str = "test", failures: int = 0) -> None:
        self.name = name
        self.failures = failures
        self.messages: list[Message] = []
        self.gate: asyncio.Event | None = None

    async def send(self, message: Message) -> None:
        if self.gate is not None:
            await self.gate.wait()
        if self.failures:
            self.failures -= 1
            raise NotifyUnavailable("down")
        self.messages.append(message)

    async def close(self) -> None:
        return

    @property
    def told(self) -> list[str]:
        return [note.key for message in self.messages for note in message.notes]


def mail_to(mailbox: Mailbox) -> MailOptions:
    return MailOptions(
        host="127.0.0.1",
        port=mailbox.port,
        tls="none",
        sender="jobs@shop.example",
        to=("ops@shop.example",),
    )


def told_in(mails: Iterable[tuple[str, list[str], str]]) -> int:
    """How many failures the mails tell of, read from their subjects as a person would."""
    subjects = [mail[2].replace("\r\n ", " ").partition("Subject: ")[2] for mail in mails]
    found = [re.search(r"([\d,]+) more failures", subject) for subject in subjects]
    return sum(int(hit[1].replace(",", "")) if hit else 1 for hit in found)


async def consume(notifier: Notifier, notes: Sequence[Note], prefetch: int) -> set[str]:
    """What the consuming loop does: at most ``prefetch`` unacked, ack after take, else again."""
    slots = asyncio.Semaphore(prefetch)
    acked: set[str] = set()

    async def deliver(note: Note) -> None:
        async with slots:
            while note.key not in acked:
                try:
                    await notifier.take(note)
                except NotifyUnavailable:
                    continue
                acked.add(note.key)

    await asyncio.gather(*(deliver(note) for note in notes))
    return acked


async def test_ten_thousand_failures_are_a_handful_of_mails(
    mailbox: Mailbox, make_note: Callable[..., Note]
) -> None:
    """Each failure is counted in exactly one mail, and acked after that mail only."""
    options = NotifyOptions(channels=(mail_to(mailbox),), rate=QUICK)
    notifier = Notifier(options, channels=build(options))
    notes = [make_note(number) for number in range(10_000)]
    acked = await consume(notifier, notes, options.rate.hold)
    await notifier.close()
    assert len(acked) == 10_000
    assert len(mailbox.mails) <= QUICK.messages
    assert told_in(mailbox.mails) == 10_000


async def test_a_server_that_is_down_and_comes_back_loses_nothing(
    mailbox: Mailbox, make_note: Callable[..., Note]
) -> None:
    """While it is down take raises and nothing is acked; then each failure is told once."""
    await mailbox.stop()
    options = NotifyOptions(
        channels=(mail_to(mailbox),), rate=QUICK, patience=timedelta(milliseconds=50)
    )
    notifier = Notifier(options, channels=build(options))
    with pytest.raises(NotifyUnavailable, match=r"127\.0\.0\.1"):
        await notifier.take(make_note(0))
    notes = [make_note(number) for number in range(500)]
    consuming = asyncio.create_task(consume(notifier, notes, 500))
    await mailbox.start()
    assert len(await consuming) == 500
    await notifier.close()
    assert told_in(mailbox.mails) == 500


async def test_take_returns_only_after_the_digest_is_out(make_note: Callable[..., Note]) -> None:
    """What waits for a digest is not acked: a crash before it would lose the failure."""
    channel = Recording()
    channel.gate = asyncio.Event()
    notifier = Notifier(NotifyOptions(rate=QUICK), channels=[channel])
    takes = [asyncio.create_task(notifier.take(make_note(number))) for number in range(50)]
    done, _ = await asyncio.wait(takes, timeout=0.05)
    assert not done
    channel.gate.set()
    await asyncio.gather(*takes)
    assert len(channel.messages) == 1
    assert sorted(channel.told) == sorted(f"id-{number}:1" for number in range(50))
    await notifier.close()


async def test_the_same_failure_is_told_once(make_note: Callable[..., Note]) -> None:
    """A redelivery, at the same time or later, joins the first; the next attempt is another."""
    channel = Recording()
    notifier = Notifier(NotifyOptions(rate=QUICK), channels=[channel])
    await asyncio.gather(*(notifier.take(make_note(1)) for _ in range(3)))
    await notifier.take(make_note(1))
    await notifier.take(make_note(1, attempt=2))
    assert channel.told == ["id-1:1", "id-1:2"]
    await notifier.close()


async def test_a_channel_that_works_is_not_repeated_because_another_is_down(
    make_note: Callable[..., Note],
) -> None:
    """The note goes back to the queue; after its redelivery only the failing channel sends it."""
    works, broken = Recording("works"), Recording("broken", failures=1)
    options = NotifyOptions(rate=QUICK, patience=timedelta(milliseconds=1))
    notifier = Notifier(options, channels=[works, broken])
    with pytest.raises(NotifyUnavailable):
        await notifier.take(make_note(1))
    await notifier.take(make_note(1))
    assert works.told == broken.told == ["id-1:1"]
    await notifier.close()


async def test_a_passing_fault_is_retried_within_patience(make_note: Callable[..., Note]) -> None:
    """A greylisting server costs a pause, not a redelivery."""
    channel = Recording(failures=1)
    notifier = Notifier(NotifyOptions(rate=QUICK), channels=[channel])
    await notifier.take(make_note(1))
    assert channel.told == ["id-1:1"]
    await notifier.close()


async def test_a_caller_that_is_cancelled_does_not_take_its_failure_out_of_the_digest(
    make_note: Callable[..., Note],
) -> None:
    """A lost connection cancels the callers; their redeliveries find the failures told."""
    channel = Recording()
    channel.gate = asyncio.Event()
    notifier = Notifier(NotifyOptions(rate=QUICK), channels=[channel])
    first = asyncio.create_task(notifier.take(make_note(1)))
    await asyncio.wait([first], timeout=0.01)
    first.cancel()
    await asyncio.wait([first])
    channel.gate.set()
    await notifier.take(make_note(1))
    assert channel.told == ["id-1:1"]
    await notifier.close()


async def test_closing_sends_who_waits_back_to_the_queue(make_note: Callable[..., Note]) -> None:
    """At shutdown nothing is acked that was not sent."""
    channel = Recording()
    channel.gate = asyncio.Event()
    options = NotifyOptions(rate=QUICK, timeout=timedelta(milliseconds=10))
    notifier = Notifier(options, channels=[channel])
    takes = [asyncio.create_task(notifier.take(make_note(number))) for number in range(5)]
    await asyncio.wait(takes, timeout=0.01)
    await notifier.close()
    outcomes = await asyncio.gather(*takes, return_exceptions=True)
    assert all(isinstance(outcome, NotifyUnavailable) for outcome in outcomes)
    with pytest.raises(NotifyUnavailable, match="stopped"):
        await notifier.take(make_note(9))


async def test_a_channel_that_raises_something_strange_does_not_stop_the_lane(
    make_note: Callable[..., Note], caplog: pytest.LogCaptureFixture
) -> None:
    """A fault in a channel's code is logged and the note stays queued; the next note runs."""

    class Strange(Recording):
        async def send(self, message: Message) -> None:
            if not self.messages:
                self.messages.append(message)
                raise ZeroDivisionError
            await super().send(message)

    options = NotifyOptions(rate=QUICK, patience=timedelta(milliseconds=1))
    notifier = Notifier(options, channels=[Strange()])
    with pytest.raises(NotifyUnavailable, match="ZeroDivisionError"):
        await notifier.take(make_note(1))
    await notifier.take(make_note(2))
    assert "channel test failed" in caplog.text
    await notifier.close()


async def test_the_log_is_not_capped(
    make_note: Callable[..., Note], caplog: pytest.LogCaptureFixture
) -> None:
    """A line for each failure, with its fields."""
    options = NotifyOptions(channels=(LogOptions(),), rate=QUICK)
    notifier = Notifier(options, channels=build(options))
    await asyncio.gather(*(notifier.take(make_note(number)) for number in range(100)))
    lines = [record for record in caplog.records if record.name == "rabbitjobs.notify"]
    assert len(lines) == 100
    assert lines[0].__dict__["failure"]["job_id"] == "id-0"
    await notifier.close()


class Durable:
    """A memory that outlives the notifier, and that can be down."""

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.down = False

    async def seen(self, key: str) -> bool:
        if self.down:
            raise StoreUnavailable("down")
        return key in self.keys

    async def remember(self, keys: Sequence[str]) -> None:
        if self.down:
            raise StoreUnavailable("down")
        self.keys.update(keys)


async def test_a_durable_memory_deduplicates_over_restarts(make_note: Callable[..., Note]) -> None:
    """A crash between mail and ack does not repeat the mail where a store remembers it."""
    memory, channel = Durable(), Recording()
    for _ in range(2):
        notifier = Notifier(NotifyOptions(rate=QUICK), channels=[channel], memory=memory)
        await notifier.take(make_note(1))
        await notifier.close()
    assert channel.told == ["id-1:1"]
    assert memory.keys == {"test:id-1:1"}


async def test_a_memory_that_is_down_does_not_silence_anybody(
    make_note: Callable[..., Note],
) -> None:
    """Telling twice is better than not at all."""
    memory, channel = Durable(), Recording()
    memory.down = True
    notifier = Notifier(NotifyOptions(rate=QUICK), channels=[channel], memory=memory)
    await notifier.take(make_note(1))
    assert channel.told == ["id-1:1"]
    await notifier.close()


async def test_a_completion_is_posted_once_and_not_capped(receiver: Receiver) -> None:
    """Each caller gets the webhook it asked for; a redelivery posts nothing again."""
    options = NotifyOptions(
        rate=QUICK, on_done=OnDoneOptions(allow=(f"127.0.0.1:{receiver.port}",), secret="s")
    )
    notifier = Notifier(options, channels=[Recording()])
    notes = [
        Completion(
            job_id=f"i{number}",
            job="j",
            queue="q",
            status="succeeded",
            url=receiver.url,
            ended=1e12,
        )
        for number in range(50)
    ]
    await asyncio.gather(*(notifier.take(note) for note in notes))
    await notifier.take(notes[0])
    assert len(receiver.requests) == 50
    assert all("webhook-signature" in headers for headers, _ in receiver.requests)
    await notifier.close()


async def test_a_webhook_channel_gets_one_digest_after_an_outage(
    receiver: Receiver, make_note: Callable[..., Note]
) -> None:
    """What gathered while the receiver was down arrives together."""
    receiver.status = 503
    options = NotifyOptions(channels=(WebhookOptions(url=receiver.url),), rate=QUICK)
    notifier = Notifier(options, channels=build(options))
    takes = [asyncio.create_task(notifier.take(make_note(number))) for number in range(200)]
    while not receiver.requests:
        await asyncio.wait(takes, timeout=0.01)
    receiver.status = 200
    await asyncio.gather(*takes)
    good = receiver.bodies[1:]
    assert [body["type"] for body in good] == ["jobs.failed"]
    assert good[0]["count"] == 200
    await notifier.close()
