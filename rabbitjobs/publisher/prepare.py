"""From a call to a message: the envelope, its route, its properties (pure but for time and ids)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from rabbitjobs.clock import now
from rabbitjobs.errors import TooLarge
from rabbitjobs.job.call import Call, Options
from rabbitjobs.message.codec import encode
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.topology import routes
from rabbitjobs.topology.model import TopologySpec
from rabbitjobs.wire.message_ids import fresh_message_id
from rabbitjobs.wire.protocol import Outgoing

# The server's default limit since 4.0; larger ones close the channel with 406.
MAX_BODY_BYTES = 16 * 1024 * 1024


def envelope_of(
    call: Call, spec: TopologySpec, *, job_id: str, app_id: str | None = None
) -> Envelope:
    """The envelope of a call; raises ``ArgumentsRefused``, ``TooLarge`` or ``Unroutable``."""
    definition, options = call.definition, call.options
    queue = options.queue or definition.queue
    if len(call.body) > MAX_BODY_BYTES:
        raise TooLarge(
            f"expected arguments of at most {MAX_BODY_BYTES} bytes as JSON, got {len(call.body)}; "
            "send a reference to the data instead",
            queue=queue,
            job=definition.name,
            job_id=job_id,
        )
    at = now()
    return Envelope(
        id=job_id,
        again=options.id is not None,
        job=definition.name,
        queue=queue,
        body=call.body,
        priority=routes.priority_number(spec, queue, options.priority),
        enqueued=at,
        due=_due(options, at),
        expires=_expires(options, at),
        app_id=app_id,
        on_done=options.on_done,
        # Keys of different jobs are different keys.
        unique=f"{definition.name}:{options.unique}" if options.unique is not None else None,
        tag=options.tag,
    )


def outgoing_of(envelope: Envelope, spec: TopologySpec) -> Outgoing:
    """The message of an envelope: straight to its work queue, or by the delay it still has."""
    left = envelope.due - now() if envelope.due is not None else 0.0
    if left > 0:
        route = routes.delayed(spec, envelope.queue, timedelta(seconds=left))
    else:
        route = routes.work(spec, envelope.queue)
    return Outgoing(
        route.exchange, route.routing_key, encode(envelope, fresh_message_id()), envelope.body
    )


def _due(options: Options, at: float) -> float | None:
    if options.delay is not None:
        return at + options.delay.total_seconds()
    return options.at.timestamp() if options.at is not None else None


def _expires(options: Options, at: float) -> float | None:
    if isinstance(options.expires, timedelta):
        return at + options.expires.total_seconds()
    if isinstance(options.expires, datetime):
        return options.expires.astimezone(UTC).timestamp()
    return None
