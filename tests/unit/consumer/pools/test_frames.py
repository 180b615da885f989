"""What worker and child say to each other, however the stream cuts it."""

from __future__ import annotations

import os

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from rabbitjobs.consumer.pools.frames import Done, Frames, FromChild, Job, Mark, Progress, framed
from rabbitjobs.message.envelope import AttemptRecord, Envelope
from rabbitjobs.policy.decision import Failure


@given(st.lists(st.binary(max_size=40), max_size=6), st.lists(st.integers(1, 30)))
def test_frames_come_out_whole_whatever_the_pieces(said: list[bytes], sizes: list[int]) -> None:
    stream = b"".join(framed(one) for one in said)
    frames, found = Frames(), []
    for size in (*sizes, len(stream) + 1):
        piece, stream = stream[:size], stream[size:]
        found += [msgspec.msgpack.decode(frame) for frame in frames.feed(piece)] if piece else []
    assert found == said


def test_an_envelope_comes_through_with_all_it_has() -> None:
    record = AttemptRecord(attempt=1, started=1.0, seconds=2.0, error_type="E", error="text")
    envelope = Envelope(id="i", job="j", queue="q", body=b"\0\xff", history=(record,), due=3.5)
    (frame,) = Frames().feed(framed(Job(7, envelope)))
    assert msgspec.msgpack.decode(frame, type=Job) == Job(7, envelope)


def test_a_failure_comes_through_with_all_it_has() -> None:
    failure = Failure(kind="error", error_type="E", error="ä\N{SNOWMAN}", classes=("E", "F"))
    for said in (Done(3, None, failure, 9), Progress("i", b"{}")):
        (frame,) = Frames().feed(framed(said))
        assert msgspec.msgpack.decode(frame, type=FromChild) == said


def test_a_mark_is_one_memory_for_both_sides() -> None:
    ours = Mark()
    theirs = Mark(os.dup(ours.descriptor))
    theirs.started, ours.limited = 2**40, 7
    assert (ours.started, theirs.limited) == (2**40, 7)
    theirs.close()
    ours.close()
