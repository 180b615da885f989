"""The broker as the commands reach it: its addresses, its management API, its facts."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from urllib.parse import urlsplit

from rabbitjobs.broker.management import Management, management_of
from rabbitjobs.broker.url import Address, parse_urls
from rabbitjobs.cli.options import CliContext
from rabbitjobs.errors import NodeError, UrlRefused
from rabbitjobs.monitor.facts import BrokerFacts, look
from rabbitjobs.wire.pika import PikaWire


def addresses(obj: CliContext) -> tuple[Address, ...]:
    """The nodes of the broker; raises ``UrlRefused`` and ``BrokerError`` without a usable URL."""
    return parse_urls(obj.broker_url())


def management(obj: CliContext) -> Management | None:
    """The management API; ``None`` where none can be asked without showing the password.

    Raises ``UrlRefused`` for a configured URL that will not do.
    """
    address = addresses(obj)[0]
    if configured := obj.management_url():
        return management_of(address, configured)
    try:
        return management_of(address, _private_management(address))
    except UrlRefused:
        return None


def facts(obj: CliContext, *, rights: bool = False) -> BrokerFacts:
    """The facts of the broker, for doctor (which tries ``rights``) and the queue commands."""
    _hush()
    found = addresses(obj)
    api, refused = None, ""
    try:
        api = management(obj)
    except UrlRefused as error:
        refused = error.text
    private = _private_management(found[0]) is not None
    try:
        facts = asyncio.run(look(found, obj.spec(), api, private=private, rights=rights))
        return replace(facts, management_error=refused) if refused else facts
    finally:
        if api is not None:
            api.close()


async def opened(obj: CliContext) -> PikaWire:
    """A connection of its own; raises ``ConnectionLost``. Close it."""
    _hush()
    wire = PikaWire()
    await wire.open(addresses(obj)[0], name="rabbitjobs queue")
    return wire


def _hush() -> None:
    # Asking for what is not there closes a channel each time, and pika warns of every one.
    logging.getLogger("pika").setLevel(logging.CRITICAL)


def _private_management(address: Address) -> str | None:
    """The management URL of the user's private node, if ``address`` is that node's."""
    from rabbitjobs.broker.state import running_node

    try:
        node = running_node()
        if node is None:
            return None
        here = urlsplit(node.url)
        if (here.hostname, here.port) != (address.host, address.port):
            return None
        return node.management_url
    except (NodeError, OSError):
        return None
