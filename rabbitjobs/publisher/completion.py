"""The note by which the notifier posts the webhook that a caller asked for with ``on_done=``."""

from __future__ import annotations

from rabbitjobs.message import headers as h
from rabbitjobs.message.codec import encode
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.topology import routes
from rabbitjobs.topology.model import TopologySpec
from rabbitjobs.wire.protocol import Outgoing

REASON = "completed"


def completion(
    envelope: Envelope,
    status: str,
    ended: float,
    spec: TopologySpec,
    *,
    failure: str | None = None,
) -> Outgoing:
    """The note that a job has ended: by itself, or on the desk.

    ``status`` is the final one, ``ended`` unix seconds, ``failure`` a ``Failure`` as JSON.
    """
    properties = encode(envelope)
    properties.headers[h.REASON] = REASON
    properties.headers[h.STATUS] = status
    properties.headers[h.ENDED] = round(ended * 1000)
    if failure is not None:
        properties.headers[h.FAILURE] = failure
    route = routes.failed(spec, "notify", envelope.queue)
    return Outgoing(route.exchange, route.routing_key, properties, b"")
