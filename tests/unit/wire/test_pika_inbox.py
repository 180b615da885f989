"""Deliveries past pika: the same whatever way the bytes come, and pika's when they are not ours."""

from __future__ import annotations

from typing import Any

import pytest
from pika import frame, spec
from pika.exceptions import BodyTooLongError

from rabbitjobs.message.codec import encode
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.message.properties import Properties
from rabbitjobs.testing.wire.raw import POISON, raw_header
from rabbitjobs.wire.frames import publish_frames
from rabbitjobs.wire.guard import Guard
from rabbitjobs.wire.pika_guard import GuardedAsyncioConnection
from rabbitjobs.wire.pika_inbox import Inbox
from rabbitjobs.wire.protocol import Delivery, Outgoing

TAG = "rj-1"


class Bare(GuardedAsyncioConnection):
    """A connection without a socket, on whose channel 1 the consumer ``rj-1`` is ours."""

    def __init__(self) -> None:
        self._frame_buffer = b""
        self.bytes_received = 0
        self.frames_received = 0
        self._guard = Guard()
        self.taken: list[Delivery] = []
        self.confirmed: list[tuple[int, bool, bool]] = []
        self._inboxes = {1: Inbox(1, TAG, self.taken.append)}
        self._confirms = {2: lambda *told: self.confirmed.append(told)}
        self.pikas: list[Any] = []

    def _deliver_frame_to_channel(self, value: frame.Frame) -> None:
        self.pikas.append(value)

    def _process_frame(self, frame_value: Any) -> None:
        self.pikas.append(frame_value)


def deliver(
    number: int,
    message: Outgoing,
    *,
    channel: int = 1,
    consumer: str = TAG,
    frame_max: int = 131_072,
) -> list[bytes]:
    """The frames of one delivery: method, header, bodies."""
    method = spec.Basic.Deliver(consumer, number, False, message.exchange, message.routing_key)
    left = publish_frames(message, channel, frame_max)
    frames: list[bytes] = []
    while left:
        size = 8 + int.from_bytes(left[3:7], "big")
        frames.append(left[:size])
        left = left[size:]
    return [frame.Method(channel, method).marshal(), *frames[1:]]


def ours(number: int, *, job: str = "shop.mail", body: bytes = b"{}", **more: Any) -> Outgoing:
    """A job as a publisher sends it."""
    job_id = f"01890a5d-ac96-774b-bcce-{number:012d}"
    envelope = Envelope(id=job_id, job=job, queue="emails", body=body, enqueued=1e9, **more)
    return Outgoing("shop.jobs", "emails", encode(envelope, f"abc-{number}"), body)


MESSAGES = [
    ours(1),
    ours(2, body=b"x" * 300),
    ours(3, job="shop.other", priority=4),
    ours(4, body=b""),
    ours(5, attempt=2, app_id="shop", trace="00-trace"),
    Outgoing("", "emails", Properties(headers={"n": 1}, delivery_mode=1), b"a stranger's"),
    ours(7, priority=5),
    ours(8),
]
EXPECTED = [
    Delivery(number, each.exchange, each.routing_key, False, each.properties, each.body)
    for number, each in enumerate(MESSAGES, 1)
]


@pytest.mark.parametrize("frame_max", [131_072, 58])
@pytest.mark.parametrize("step", [1, 2, 7, 8, 50, 400, 100_000])
def test_deliveries_are_the_same_however_the_stream_is_cut(step: int, frame_max: int) -> None:
    stream = b"".join(
        b"".join(deliver(number, each, frame_max=frame_max))
        for number, each in enumerate(MESSAGES, 1)
    )
    connection = Bare()
    for at in range(0, len(stream), step):
        connection._on_data_available(stream[at : at + step])
    assert connection.taken == EXPECTED
    assert connection.pikas == []
    assert connection.bytes_received == len(stream)
    assert connection._frame_buffer == b""


def test_frames_of_other_channels_may_come_between_those_of_a_message() -> None:
    method, header, body = deliver(1, MESSAGES[0])
    theirs = deliver(9, MESSAGES[1], channel=3)
    confirm = frame.Method(2, spec.Basic.Nack(7, True)).marshal()
    connection = Bare()
    connection._on_data_available(
        b"".join([method, theirs[0], header, theirs[1], confirm, body, theirs[2]])
    )
    assert connection.taken == EXPECTED[:1]
    assert [type(each) for each in connection.pikas] == [frame.Method, frame.Header, frame.Body]
    assert connection.confirmed == [(7, True, False)]


def test_what_is_for_another_consumer_or_no_delivery_at_all_stays_with_pika() -> None:
    connection = Bare()
    returned = frame.Method(1, spec.Basic.Return(312, "NO_ROUTE", "x", "k")).marshal()
    header, body = deliver(1, MESSAGES[0])[1:]
    qos = frame.Method(1, spec.Basic.QosOk()).marshal()
    other = deliver(2, MESSAGES[1], consumer="rj-12")
    connection._on_data_available(b"".join([returned, header, body, qos, *other]))
    assert connection.taken == []
    assert len(connection.pikas) == 7


@pytest.mark.parametrize("name", POISON)
def test_a_damaged_header_comes_with_its_raw_bytes_and_its_neighbours_are_whole(name: str) -> None:
    method, _, body = deliver(2, MESSAGES[0])
    raw = raw_header(len(MESSAGES[0].body), *POISON[name])
    poison = frame.Header.__new__(frame.Header)
    frame.Frame.__init__(poison, spec.FRAME_HEADER, 1)
    connection = Bare()
    connection._on_data_available(
        b"".join([*deliver(1, MESSAGES[0]), method, poison._marshal([raw]), body])
        + b"".join(deliver(3, MESSAGES[2]))
    )
    first, damaged, last = connection.taken
    assert (first, last) == (EXPECTED[0], EXPECTED[2])
    assert damaged.damage and damaged.raw == raw
    assert (damaged.tag, damaged.properties, damaged.body) == (2, Properties(), MESSAGES[0].body)


def test_a_damaged_route_is_told_with_its_bytes_as_escapes() -> None:
    frames = deliver(1, MESSAGES[0])
    frames[0] = frames[0].replace(b"emails", b"\xffmails")
    connection = Bare()
    connection._on_data_available(b"".join(frames) + b"".join(deliver(2, MESSAGES[1])))
    damaged, healthy = connection.taken
    assert "UTF-8" in (damaged.damage or "")
    assert damaged.routing_key == "\\xffmails"
    assert damaged.raw == frames[1][7:-1]
    assert healthy == EXPECTED[1]


def test_a_body_longer_than_its_header_says_ends_the_connection_as_in_pika() -> None:
    method, header, _ = deliver(1, MESSAGES[0])
    body = deliver(1, MESSAGES[1])[2]
    with pytest.raises(BodyTooLongError):
        Bare()._on_data_available(method + header + body)


def test_confirms_are_told_by_tag_and_kind() -> None:
    connection = Bare()
    connection._on_data_available(
        frame.Method(2, spec.Basic.Ack(1, False)).marshal()
        + frame.Method(2, spec.Basic.Ack(2**40, True)).marshal()
        + frame.Method(3, spec.Basic.Ack(5, False)).marshal()
    )
    assert connection.confirmed == [(1, False, True), (2**40, True, True)]
    assert len(connection.pikas) == 1
