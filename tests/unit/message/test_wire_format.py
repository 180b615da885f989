"""docs/wire-format.md and its schema say what the codec does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from rabbitjobs.clock import uuid7
from rabbitjobs.errors import Undecodable
from rabbitjobs.message import headers as h
from rabbitjobs.message.codec import decode, encode
from rabbitjobs.message.envelope import AttemptRecord, Envelope
from rabbitjobs.message.properties import Properties
from rabbitjobs.topology import names

DOCS = Path(__file__).parents[3] / "docs"
SCHEMA = json.loads((DOCS / "wire-format.schema.json").read_text())
TEXT = (DOCS / "wire-format.md").read_text()


def checker() -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    return jsonschema.Draft202012Validator(SCHEMA)


def document(properties: Properties, body: bytes) -> dict[str, Any]:
    """A message as the schema describes it."""
    return {"properties": msgspec.to_builtins(properties), "body": json.loads(body)}


FULL = Envelope(
    id=uuid7(),
    job="주문.확인",
    queue="emails",
    body=b'{"args": [1], "kwargs": {"a": "b"}}',
    attempt=2,
    priority=5,
    enqueued=1_700_000_000.5,
    due=1_700_000_100.0,
    expires=1_700_000_200.0,
    correlation_id="c",
    reply_to="r",
    app_id="shop",
    trace="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    on_done="https://hooks.shop.example/",
    unique="k",
    again=True,
    unknown=2,
    waits=3,
    release="r1",
    case="c1",
    signature="k1:00",
    history=(AttemptRecord(attempt=1, started=1.0, seconds=0.1, error_type="E", error="e"),),
)


@pytest.mark.parametrize(
    "envelope", [FULL, Envelope(id="i", job="j", queue="q", body=b'{"args": []}')]
)
def test_what_we_send_fits_the_schema_and_is_read_back(envelope: Envelope) -> None:
    """Every field of the envelope travels."""
    properties = encode(envelope, uuid7())
    checker().validate(document(properties, envelope.body))
    read = decode(properties, envelope.body, queue=envelope.queue)
    assert msgspec.structs.replace(read, enqueued=envelope.enqueued) == envelope


def test_the_smallest_message_of_a_stranger_is_a_job() -> None:
    """A name and a message id are enough."""
    properties = Properties(type="greet", message_id="m1")
    checker().validate(document(properties, b"{}"))
    envelope = decode(properties, b"{}", queue="emails")
    assert (envelope.id, envelope.job, envelope.attempt) == ("m1", "greet", 1)


@pytest.mark.parametrize(
    "properties",
    [
        Properties(message_id="m"),
        Properties(type="greet"),
        Properties(type="greet", message_id="m", content_type="application/x-pickle"),
        Properties(type="greet", message_id="m", content_encoding="gzip"),
        Properties(type="greet", message_id="m", headers={h.SIGNATURE: 5}),
        Properties(type="greet", message_id="m", headers={h.ATTEMPT: 0}),
        Properties(type="greet", message_id="m", headers={h.ATTEMPT: "1"}),
        Properties(type="greet", message_id="m", headers={h.ID: 5}),
        Properties(type="greet", message_id="m", headers={h.DUE: -1}),
        Properties(type="greet", message_id="m", headers={h.EXPIRES: 1 << 60}),
        Properties(type="greet", message_id="m", headers={h.HISTORY: 5}),
    ],
)
def test_what_the_schema_refuses_the_codec_refuses(properties: Properties) -> None:
    """The schema and the code agree on what is wrong."""
    assert not checker().is_valid(document(properties, b"{}"))
    with pytest.raises(Undecodable):
        decode(properties, b"{}", queue="emails")


def test_every_header_is_documented() -> None:
    """In the text and in the schema; the page names none that does not exist."""
    ours = {value for name, value in vars(h).items() if name.isupper() and name != "VERSION"}
    internal = {h.DAMAGE}
    known = SCHEMA["$defs"]["headers"]["properties"]
    for header in ours - internal:
        assert f"`{header}`" in TEXT
        assert header in known or header == h.RAW
    assert set(known) <= ours


def test_the_documented_delay_key_is_the_real_one() -> None:
    """Five seconds for emails."""
    assert f"`{names.ladder_key('emails', 5)}`" in TEXT
