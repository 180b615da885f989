"""Where the aio-pika wire stands on the inside of aiormq: a new release must still have it."""

from __future__ import annotations

import asyncio
import inspect
import logging
import subprocess
import sys
from importlib.metadata import version

import aiormq
import pytest
from aiormq.abc import ChannelFrame
from aiormq.connection import FrameReceiver, TransportFactory
from pika import frame, spec

from rabbitjobs.wire.aio_pika_guard import GuardedReader, GuardedTransport
from rabbitjobs.wire.guard import read_damage


def test_the_release_is_the_one_that_was_read() -> None:
    assert version("aio-pika").startswith("10.")
    assert version("aiormq").startswith("7.")


def test_the_transport_is_asked_for_by_the_names_that_ours_has() -> None:
    assert issubclass(GuardedTransport, TransportFactory)
    parameters = inspect.signature(aiormq.Connection.__init__).parameters
    assert {"transport_factory", "client_properties"} <= set(parameters)
    receiver = inspect.getsource(FrameReceiver)
    calls = {part.split("(")[0] for part in receiver.split("self.reader.")[1:]}
    assert calls <= {"at_eof", "readexactly", "read"}


def test_the_book_of_confirms_is_kept_as_ours_writes_it() -> None:
    publish = inspect.getsource(aiormq.Channel.basic_publish)
    for line in (
        "self.delivery_tag += 1",
        "self.confirmations[delivery_tag] = confirmation",
        "self.message_id_delivery_tag[message_id] = delivery_tag",
        "self.write_queue.put(",
    ):
        assert line in publish
    assert list(inspect.signature(ChannelFrame).parameters) == [
        "payload", "should_close", "drain_future",
    ]  # fmt: skip


def test_alarms_and_server_cancels_are_heard_where_ours_listens() -> None:
    reader = inspect.getsource(aiormq.Connection)
    assert "await self.__handle_connection_blocked(frame)" in reader
    assert "await self.__handle_connection_unblocked(frame)" in reader
    assert "self.__connection_unblocked.set()" in reader
    assert "self.on_consumer_cancel_callbacks" in inspect.getsource(aiormq.Channel)


@pytest.mark.parametrize("step", [1, 3, 7, 1000])
async def test_frames_pass_the_reader_whole_and_a_damaged_one_is_replaced(step: int) -> None:
    method = frame.Method(1, spec.Basic.Deliver("c", 1, False, "x", "q")).marshal()
    poison = frame.Header(1, 0, spec.BasicProperties(timestamp=2**62)).marshal()
    goodbye = frame.Method(0, spec.Connection.Close(320, "CONNECTION_FORCED", 0, 0)).marshal()
    stream = asyncio.StreamReader()
    stream.feed_data(method + poison + goodbye)
    stream.feed_eof()
    reader = GuardedReader(stream)
    out = b""
    while not reader.at_eof():
        try:
            out += await reader.readexactly(step)
        except asyncio.IncompleteReadError as error:
            out += error.partial
            break
    assert out.startswith(method)
    size, header = frame.decode_frame(out[len(method) :])
    assert isinstance(header, frame.Header)
    damage = read_damage(header.properties.headers or {})
    assert damage is not None and damage[1] == poison[7:-1]
    assert out[len(method) + size :] == goodbye
    assert reader.goodbye == "CONNECTION_FORCED"


def test_without_the_extra_the_error_says_what_to_install() -> None:
    code = "import sys; sys.modules['aiormq'] = None; import rabbitjobs.wire.aio_pika"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'rabbitjobs[aio-pika]'" in done.stderr


def test_importing_the_package_imports_no_aio_pika() -> None:
    code = "import sys, rabbitjobs.app; print([m for m in sys.modules if m.startswith('aio')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_debug_logs_that_would_show_bodies_are_capped() -> None:
    from rabbitjobs.wire.aio_pika import _cap_loggers

    logger = logging.getLogger("aiormq")
    before = logger.level
    logger.setLevel(logging.DEBUG)
    _cap_loggers()
    assert logger.level == logging.WARNING
    logger.setLevel(before)
