"""How pika connects to an address: the same for jobs and for topology work."""

from __future__ import annotations

from typing import Any

import pika

from rabbitjobs.broker.url import Address


def parameters(address: Address, name: str, **more: Any) -> pika.ConnectionParameters:
    """Pika's parameters for a connection that the broker shows as ``name``.

    ``more`` are parameters of pika's own: its timeouts, in seconds.
    """
    context = address.ssl_context()
    return pika.ConnectionParameters(
        host=address.host,
        port=address.port,
        virtual_host=address.vhost,
        credentials=pika.PlainCredentials(address.user, address.password.reveal()),
        heartbeat=address.heartbeat,
        ssl_options=pika.SSLOptions(context, address.server_name or address.host)
        if context
        else None,
        client_properties={"connection_name": name, "product": "rabbitjobs"},
        **more,
    )
