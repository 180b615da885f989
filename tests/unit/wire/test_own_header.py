"""Headers read by their places are read as the strict reader reads them, whatever they are."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rabbitjobs.message import headers as h
from rabbitjobs.message.codec import encode
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.message.properties import Properties
from rabbitjobs.wire.frames import header_payload
from rabbitjobs.wire.guard import BAD_FRAME, decode_header
from rabbitjobs.wire.own_header import OwnHeaders
from rabbitjobs.wire.protocol import Outgoing

ID = "01890a5d-ac96-774b-bcce-b302099a8057"


def payload(job: str = "shop.mail", queue: str = "emails", **more: Any) -> bytes:
    envelope = Envelope(id=more.pop("id", ID), job=job, queue=queue, body=b"{}", **more)
    return header_payload(Outgoing("x", "k", encode(envelope, "abc-1"), b"{}"))


def taught(*samples: bytes) -> OwnHeaders:
    """One that has read these."""
    known = OwnHeaders()
    for sample in samples:
        known.decode(sample, 0, len(sample))
    return known


@given(
    id=st.sampled_from([ID, ID.upper(), "short", "é" * 18]),
    job=st.sampled_from(["shop.mail", "shop.other", "é"]),
    queue=st.sampled_from(["emails", "images", "q"]),
    attempt=st.sampled_from([1, 2, 2**30]),
    enqueued=st.sampled_from([0.0, 1.0, 1e9, 1.8e9]),
    priority=st.sampled_from([None, 0, 4]),
    app_id=st.sampled_from([None, "shop"]),
    trace=st.sampled_from([None, "00-trace"]),
    content_type=st.sampled_from(["application/json", "text/plain"]),
)
def test_the_result_is_that_of_the_strict_reader(**fields: Any) -> None:
    known = taught(payload(enqueued=1e9), payload(enqueued=1e9, priority=4, app_id="shop"))
    data = b"??" + payload(**fields) + b"rest"
    for _ in range(2):
        assert known.decode(data, 2, len(data) - 4) == decode_header(data, 2, len(data) - 4)


@given(at=st.integers(0, 200), bits=st.integers(1, 255))
def test_a_damaged_header_is_an_error_here_too_or_reads_the_same(at: int, bits: int) -> None:
    sample = payload(enqueued=1e9)
    at %= len(sample)
    data = sample[:at] + bytes([sample[at] ^ bits]) + sample[at + 1 :]
    known = taught(sample)
    try:
        expected = decode_header(data, 0, len(data))
    except BAD_FRAME:
        with pytest.raises(BAD_FRAME):
            known.decode(data, 0, len(data))
    else:
        assert known.decode(data, 0, len(data)) == expected


@pytest.mark.parametrize("less", [1, 5, 30, 100])
def test_a_header_that_ends_too_soon_is_an_error(less: int) -> None:
    sample = payload(enqueued=1e9)
    with pytest.raises(BAD_FRAME):
        taught(sample).decode(sample, 0, len(sample) - less)


def test_a_stranger_cannot_teach_it_a_wrong_name() -> None:
    """A header of another shape has other bytes where the names stand in ours."""
    sample = payload(enqueued=1e9)
    for extra in range(1, 60):
        # A longer queue shifts the names: its end would be taken for that of a shorter one.
        known = taught(sample, payload(job="x" * extra + "\x09shop.mail", queue="emails" + "q" * 9))
        assert known.decode(sample, 0, len(sample))[1].type == "shop.mail"


def test_our_own_headers_are_read_by_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once one of each kind and name has been seen."""
    samples = [
        payload(enqueued=1e9),
        payload(enqueued=1e9, job="o"),
        payload(enqueued=1e9, job="o", priority=4),
    ]
    known = taught(*samples)
    monkeypatch.setattr("rabbitjobs.wire.own_header.decode_header", None)
    for sample in samples:
        size, properties = known.decode(sample, 0, len(sample))
        assert size == 2
        assert properties.headers[h.ID] == ID
        assert isinstance(properties, Properties)
