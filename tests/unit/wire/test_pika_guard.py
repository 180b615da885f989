"""pika's connection with the guard below it: same frames as pika's own, and none that kills."""

from __future__ import annotations

import asyncio
import inspect
from importlib.metadata import version
from typing import Any

import pytest
from pika import frame, spec
from pika.adapters import base_connection
from pika.adapters.asyncio_connection import AsyncioConnection, _AsyncioIOServicesAdapter
from pika.channel import Channel
from pika.connection import Connection
from pika.exceptions import InvalidFrameError

from rabbitjobs.wire.guard import DAMAGE, RAW, Guard
from rabbitjobs.wire.pika_guard import GuardedAsyncioConnection


class Bare(GuardedAsyncioConnection):
    """A connection without a socket: it only collects the frames it would process."""

    def __init__(self) -> None:
        self._frame_buffer = b""
        self.bytes_received = 0
        self.frames_received = 0
        self._guard = Guard()
        self._inboxes = {}
        self._confirms = {}
        self.seen: list[frame.Frame] = []

    def _deliver_frame_to_channel(self, value: frame.Frame) -> None:
        self.seen.append(value)

    def _process_frame(self, frame_value: Any) -> None:
        self.seen.append(frame_value)


def delivery(body: bytes, **properties: Any) -> bytes:
    method = spec.Basic.Deliver("ctag", 1, False, "shop.jobs", "emails")
    parts = [
        frame.Method(1, method),
        frame.Header(1, len(body), spec.BasicProperties(**properties)),
        frame.Body(1, body),
    ]
    return b"".join(part.marshal() for part in parts)


STREAM = (
    frame.Heartbeat().marshal()
    + delivery(b"one", message_id="1", headers={"k": "v"})
    + frame.Method(1, spec.Basic.Ack(5, True)).marshal()
    + delivery(b"two" * 100, content_type="application/json")
)


@pytest.mark.parametrize("step", [1, 2, 7, 8, 50, len(STREAM)])
def test_frames_are_the_same_however_the_stream_is_cut(step: int) -> None:
    connection = Bare()
    for at in range(0, len(STREAM), step):
        connection._on_data_available(STREAM[at : at + step])
    assert [type(each) for each in connection.seen] == [
        frame.Heartbeat, frame.Method, frame.Header, frame.Body,
        frame.Method, frame.Method, frame.Header, frame.Body,
    ]  # fmt: skip
    assert connection._frame_buffer == b""
    assert connection.bytes_received == len(STREAM)
    first: Any = connection.seen[1]
    assert (first.method.consumer_tag, first.method.routing_key) == ("ctag", "emails")
    header: Any = connection.seen[2]
    assert header.body_size == 3
    assert header.properties.message_id == "1"
    assert header.properties.headers == {"k": "v"}
    assert header.properties.value.headers == {"k": "v"}
    assert header.properties.expiration is None
    ack: Any = connection.seen[4]
    assert (ack.method.delivery_tag, ack.method.multiple) == (5, True)


def test_a_damaged_message_arrives_marked_and_the_next_one_healthy() -> None:
    connection = Bare()
    poison = delivery(b"x", timestamp=2**62)
    connection._on_data_available(poison + delivery(b"y", message_id="2"))
    damaged, healthy = [
        each.properties for each in connection.seen if isinstance(each, frame.Header)
    ]
    assert "9999" in damaged.headers[DAMAGE]
    assert damaged.headers[RAW] in poison
    assert damaged.message_id is None
    assert healthy.message_id == "2"
    assert healthy.headers == {}


def test_a_bad_routing_key_damages_its_own_message_only() -> None:
    connection = Bare()
    poison = delivery(b"x", message_id="1").replace(b"emails", b"\xffmails")
    connection._on_data_available(poison + delivery(b"y", message_id="2"))
    damaged, healthy = [
        each.properties for each in connection.seen if isinstance(each, frame.Header)
    ]
    assert "UTF-8" in damaged.headers[DAMAGE]
    assert healthy.message_id == "2"
    method: Any = connection.seen[0]
    assert method.method.routing_key == "\\xffmails"


def test_a_broken_stream_is_an_error_as_in_pika() -> None:
    with pytest.raises(InvalidFrameError):
        Bare()._on_data_available(b"\x08\x00\x00\x00\x00\x00\x00\x00\x00")


def test_a_protocol_header_goes_to_pikas_own_reader() -> None:
    connection = Bare()
    connection._on_data_available(b"AMQP\x00\x00\x09\x01")
    assert isinstance(connection.seen[0], frame.ProtocolHeader)


def test_the_release_is_the_one_that_was_read() -> None:
    assert version("pika").startswith("1.4.")


def test_the_seam_in_pika_is_where_we_override_it() -> None:
    assert "_on_data_available(data)" in inspect.getsource(
        base_connection.BaseConnection._proto_data_received
    )
    own = inspect.getsource(AsyncioConnection._on_data_available)
    assert "_read_frame()" in own and "_process_frame(" in own
    assert "_deliver_frame_to_channel(" in inspect.getsource(AsyncioConnection._process_frame)
    assert "_frame_buffer = bytes()" in inspect.getsource(Connection._init_connection_state)


def test_all_that_pika_sends_passes_where_writes_are_gathered() -> None:
    """Else its frames would overtake ours, or the other way round."""
    for way in (Connection._send_frame, Connection._send_message):
        assert "self._output_marshaled_frames(" in inspect.getsource(way)
    emits = [
        name
        for name, each in vars(Connection).items()
        if callable(each) and "_adapter_emit_data(" in inspect.getsource(each)
    ]
    assert sorted(emits) == ["_adapter_emit_data", "_output_marshaled_frames"]
    written = inspect.getsource(base_connection.BaseConnection._adapter_emit_data)
    assert "self._transport.write(data)" in written


def test_a_channel_that_is_closed_says_so_before_its_number_is_used_again() -> None:
    """Then its deliveries and confirms are no longer ours."""
    source = inspect.getsource(Connection._on_channel_cleanup)
    assert "del self._channels[channel.channel_number]" in source
    closed = inspect.getsource(Channel._set_state) + inspect.getsource(
        Channel._transition_to_closed
    )
    assert "self.callbacks.process(" in closed
    assert closed.index("self.callbacks.process(") < closed.index("self._cleanup()")


def test_a_transport_of_the_loop_is_all_that_pika_asks_of_its_own() -> None:
    source = inspect.getsource(base_connection.BaseConnection)
    asked = {part.split("(")[0] for part in source.split("self._transport.")[1:]}
    assert asked <= {"abort", "write"}


class Transport:
    """Keeps what is written to it."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)


async def test_what_is_written_in_one_turn_of_the_loop_leaves_in_two_pieces() -> None:
    """The first at once, for whoever waits; and in the order of the calls."""
    transport = Transport()
    connection = Bare()
    connection._transport = transport
    connection._nbio = _AsyncioIOServicesAdapter(asyncio.get_running_loop())
    connection._written, connection._outgoing, connection.bytes_sent = False, [], 0
    connection.frames_sent = 0
    for number in range(3):
        connection.write(b"%d" % number)
    connection._output_marshaled_frames([b"a", b"b"])
    assert transport.written == [b"0"]
    await asyncio.sleep(0)
    assert transport.written == [b"0", b"12ab"]
    assert connection.bytes_sent == 5
    await asyncio.sleep(0)
    connection.write(b"next")
    assert transport.written[2:] == [b"next"]
    connection._transport = None
    await asyncio.sleep(0)
    connection.write(b"nobody is there any more")
