"""What cannot be read goes to quarantine with all its bytes, and fits into a frame."""

from __future__ import annotations

from rabbitjobs.backend.protocol import Status
from rabbitjobs.ending.quarantine import RULE_KEPT, quarantined, refused
from rabbitjobs.message import headers as h
from rabbitjobs.message.codec import decode
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.message.properties import Properties, from_text
from rabbitjobs.topology.model import default_spec
from rabbitjobs.wire.frames import header_payload
from rabbitjobs.wire.protocol import Delivery, Outgoing

SPEC = default_spec("shop", ("emails",))
FRAME = 131_072 - 8


def sent(properties: Properties, body: bytes, raw: bytes, why: str = "why") -> Outgoing:
    """What a message like this becomes."""
    came = Delivery(1, "shop.jobs", "emails", False, properties, body, raw=raw)
    plan = quarantined(came, why, "emails", SPEC)
    assert (plan.status, plan.record) == (Status.QUARANTINED, None)
    (outgoing,) = plan.sends
    return outgoing


def test_what_cannot_be_read_keeps_its_bytes() -> None:
    """Body and raw header as they came; no property of it is trusted."""
    outgoing = sent(Properties(app_id="me", headers={"x": b"\xff"}), b"\xff", b"\x00raw")
    headers = outgoing.properties.headers
    assert (outgoing.exchange, outgoing.routing_key) == ("shop.fail", "quarantine")
    assert (outgoing.body, outgoing.properties.app_id) == (b"\xff", None)
    assert (headers[h.RAW], headers[h.RULE], headers[h.QUEUE]) == (b"\x00raw", "why", "emails")
    said = from_text(headers[h.PROPERTIES])
    assert said == {"app_id": "me", "delivery_mode": 2, "headers": {"x": "/w=="}}


def test_a_message_without_damage_has_no_raw_bytes() -> None:
    """Its properties could be read, only their meaning could not."""
    assert h.RAW not in sent(Properties(), b"", b"").properties.headers


def test_no_raw_header_outgrows_a_header_frame() -> None:
    """A damaged header may have filled its own frame."""
    properties = Properties(headers={"x": "y" * 50_000})
    outgoing = sent(properties, b"", b"\xff" * 131_000, "w" * 9000)
    assert len(header_payload(outgoing)) <= FRAME


def test_a_job_whose_signature_does_not_hold_goes_as_it_came() -> None:
    """Readable, so that it can be put back; its signature goes along, nothing is recorded."""
    envelope = Envelope(
        id="job-1", job="shop.mail", queue="emails", body=b"{}", enqueued=1.0, signature="k1:00"
    )
    came = Delivery(1, "shop.jobs", "emails", False, Properties(app_id="eve"), b"{}")
    plan = refused(envelope, came, "w" * 9000, SPEC)
    assert (plan.status, plan.record) == (Status.QUARANTINED, None)
    (outgoing,) = plan.sends
    headers = outgoing.properties.headers
    assert (outgoing.exchange, outgoing.routing_key) == ("shop.fail", "quarantine")
    assert (outgoing.body, headers[h.SIGNATURE], headers[h.REASON]) == (b"{}", "k1:00", "signature")
    assert headers[h.RULE] == "w" * RULE_KEPT
    assert from_text(headers[h.PROPERTIES]) == {"app_id": "eve", "delivery_mode": 2}
    again = decode(outgoing.properties, outgoing.body, queue="emails")
    assert (again.id, again.attempt, again.job) == ("job-1", 1, "shop.mail")
