"""Envelopes to properties and back: round trips, foreign messages, strictness, bounds."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rabbitjobs.errors import Undecodable
from rabbitjobs.message import headers as h
from rabbitjobs.message.codec import HISTORY_BYTES, decode, encode
from rabbitjobs.message.envelope import HISTORY_KEPT, AttemptRecord, Envelope
from rabbitjobs.message.properties import Properties
from rabbitjobs.wire.frames import header_payload
from rabbitjobs.wire.guard import decode_header
from rabbitjobs.wire.protocol import Outgoing

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
MOMENT = st.integers(0, 4_000_000_000_000).map(lambda ms: ms / 1000)
RECORDS = st.builds(
    AttemptRecord,
    attempt=st.integers(1, 100),
    started=MOMENT,
    seconds=st.floats(0, 1e6),
    error_type=TEXT,
    error=TEXT,
)
RECORD = AttemptRecord(attempt=1, started=1.0, seconds=1.0, error_type="E", error="")
ENVELOPES = st.builds(
    Envelope,
    id=TEXT,
    job=TEXT,
    queue=TEXT,
    body=st.binary(max_size=50),
    content_type=st.sampled_from(["application/json", "Application/JSON; charset=utf-8"]),
    content_encoding=st.sampled_from([None, "identity", "utf-8", "UTF-8"]),
    attempt=st.integers(1, 2**31 - 1),
    priority=st.none() | st.integers(0, 255),
    enqueued=MOMENT,
    due=st.none() | MOMENT,
    expires=st.none() | MOMENT,
    correlation_id=st.none() | TEXT,
    reply_to=st.none() | TEXT,
    app_id=st.none() | TEXT,
    trace=st.none() | TEXT,
    on_done=st.none() | TEXT,
    unique=st.none() | TEXT,
    release=st.none() | TEXT,
    case=st.none() | TEXT,
    signature=st.none() | TEXT,
    history=st.lists(RECORDS, max_size=4).map(tuple),
)


@given(ENVELOPES)
def test_an_envelope_survives_the_wire(envelope: Envelope) -> None:
    """Through properties, through AMQP's own encoding, and back."""
    outgoing = Outgoing("x", "k", encode(envelope, "m"), envelope.body)
    payload = header_payload(outgoing)
    _, properties = decode_header(payload, 0, len(payload))
    assert decode(properties, envelope.body, queue=envelope.queue) == envelope


@pytest.mark.parametrize(
    "changes",
    [
        {"due": 5.0},
        {"expires": 5.0},
        {"trace": "t"},
        {"on_done": "u"},
        {"unique": "k"},
        {"again": True},
        {"unknown": 1},
        {"waits": 1},
        {"release": "r"},
        {"case": "c"},
        {"signature": "s"},
        {"history": (RECORD,)},
    ],
)
def test_what_few_messages_have_is_read_where_it_stands_alone(changes: dict[str, Any]) -> None:
    """All of them are looked for at once; none may be missing there."""
    envelope = Envelope(id="i", job="j", queue="q", body=b"", enqueued=1.0, **changes)
    assert decode(encode(envelope), b"", queue="q") == envelope


@given(ENVELOPES)
def test_a_retry_keeps_all_but_attempt_due_and_history(envelope: Envelope) -> None:
    """The body and the id are forwarded untouched; the history is capped."""
    record = AttemptRecord(attempt=1, started=1.0, seconds=2.0, error_type="E", error="e")
    following = envelope.next_attempt(record, due=5.0)
    assert following.attempt == envelope.attempt + 1
    assert following.history == (*envelope.history, record)[-HISTORY_KEPT:]
    assert (
        msgspec.structs.replace(
            following, attempt=envelope.attempt, due=envelope.due, history=envelope.history
        )
        == envelope
    )


def test_every_publish_is_persistent() -> None:
    """There is no option to turn that off."""
    assert encode(Envelope(id="i", job="j", queue="q", body=b"")).delivery_mode == 2


def test_a_message_of_any_amqp_client_is_a_job() -> None:
    """The name in ``type``, an id from the message id, the first attempt."""
    envelope = decode(Properties(message_id="m-1", type="shop.mail", timestamp=7), b"{}", queue="q")
    assert (envelope.id, envelope.job, envelope.attempt) == ("m-1", "shop.mail", 1)
    assert envelope.enqueued == 7.0
    assert envelope.content_type == "application/json"


def test_the_queue_is_where_it_came_from_not_what_a_header_says() -> None:
    """A header can be written by anybody."""
    headers = {h.ID: "i", h.QUEUE: "elsewhere"}
    assert decode(Properties(type="j", headers=headers), b"", queue="here").queue == "here"


def given_headers(**values: Any) -> Properties:
    """Properties of a job with these headers of ours."""
    names = {name.lower(): value for name, value in vars(h).items() if name.isupper()}
    headers = {h.ID: "i"} | {names[name]: value for name, value in values.items()}
    return Properties(type="j", headers=headers)


@pytest.mark.parametrize(
    "properties",
    [
        Properties(message_id="m"),
        Properties(type="", message_id="m"),
        Properties(type="j"),
        Properties(type="j", message_id="m", content_type="application/x-python-serialize"),
        Properties(type="j", message_id="m", content_type="text/plain"),
        Properties(type="j", message_id="m", content_encoding="gzip"),
        given_headers(signature=5),
        given_headers(id=5),
        given_headers(id="x" * 256),
        given_headers(attempt=0),
        given_headers(attempt=True),
        given_headers(attempt="1"),
        given_headers(attempt=2**31),
        given_headers(enqueued=-1),
        given_headers(due="soon"),
        given_headers(due=True),
        given_headers(expires=2**50),
        given_headers(expires=1.5),
        given_headers(trace=b"bytes"),
        given_headers(on_done="x" * 5000),
        given_headers(history=7),
        given_headers(history="[{}]"),
        given_headers(history="not json"),
        given_headers(history='[{"x":' + "[" * 100_000),
    ],
)
def test_what_is_not_of_our_format_is_undecodable(properties: Properties) -> None:
    """Nothing is guessed: it goes to quarantine with its bytes."""
    with pytest.raises(Undecodable):
        decode(properties, b"", queue="q")


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.binary(max_size=9)
HEADERS = st.dictionaries(
    st.sampled_from(
        [value for name, value in vars(h).items() if name.isupper() and name != "VERSION"]
    )
    | TEXT,
    st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner)),
)


@given(HEADERS, st.none() | TEXT, st.none() | TEXT)
def test_any_headers_are_read_or_refused(
    headers: dict[str, Any], kind: str | None, message_id: str | None
) -> None:
    """Nothing but ``Undecodable`` comes out of a stranger's headers."""
    properties = Properties(message_id=message_id, type=kind, headers=headers)
    try:
        envelope = decode(properties, b"", queue="q")
    except Undecodable:
        return
    assert envelope.attempt >= 1


def test_a_long_history_never_outgrows_its_frame() -> None:
    """A header frame that is too large would close the connection of everybody."""
    record = AttemptRecord(
        attempt=1, started=1.0, seconds=1.0, error_type="E" * 255, error="\x01" * 2000
    )
    properties = encode(Envelope(id="i", job="j", queue="q", body=b"", history=(record,) * 20))
    assert len(properties.headers[h.HISTORY]) <= HISTORY_BYTES
