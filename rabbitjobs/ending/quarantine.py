"""Endings of what cannot be read or is not signed: into quarantine, with all its bytes (pure)."""

from __future__ import annotations

from typing import Any

from rabbitjobs.backend.protocol import Status
from rabbitjobs.clock import now
from rabbitjobs.ending.settlement import Settlement
from rabbitjobs.message import headers as h
from rabbitjobs.message.codec import encode
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.message.properties import Properties, as_text
from rabbitjobs.topology import routes
from rabbitjobs.topology.model import TopologySpec
from rabbitjobs.wire.protocol import Delivery, Outgoing

RAW_KEPT = 100_000
RULE_KEPT = 1000


def quarantined(delivery: Delivery, why: str, queue: str, spec: TopologySpec) -> Settlement:
    """The settlement of a message from ``queue`` that cannot be read, and ``why``."""
    route = routes.failed(spec, "quarantine", queue)
    headers: dict[str, Any] = {
        h.V: h.VERSION,
        h.QUEUE: queue,
        h.REASON: "undecodable",
        h.RULE: why[:RULE_KEPT],
        # As one text: none of them is trusted as a property.
        h.PROPERTIES: as_text(delivery.properties),
    }
    if delivery.raw:
        headers[h.RAW] = delivery.raw[:RAW_KEPT]
    outgoing = Outgoing(
        route.exchange,
        route.routing_key,
        Properties(content_type="application/octet-stream", timestamp=int(now()), headers=headers),
        delivery.body,
    )
    return Settlement(status=Status.QUARANTINED, record=None, sends=(outgoing,))


def refused(envelope: Envelope, delivery: Delivery, why: str, spec: TopologySpec) -> Settlement:
    """The settlement of a job whose signature does not hold: into quarantine, as it came.

    Nothing is recorded under its id, which anybody may have written. ``queue put-back`` sends it
    again once its signature holds: after a key that was missing was added, say.
    """
    route = routes.failed(spec, "quarantine", envelope.queue)
    properties = encode(envelope)
    properties.headers[h.REASON] = "signature"
    properties.headers[h.RULE] = why[:RULE_KEPT]
    properties.headers[h.PROPERTIES] = as_text(delivery.properties)
    outgoing = Outgoing(route.exchange, route.routing_key, properties, envelope.body)
    return Settlement(status=Status.QUARANTINED, record=None, sends=(outgoing,))
