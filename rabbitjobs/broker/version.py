"""What the connected broker can do, decided by the version it announces, never by trial."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from rabbitjobs.errors import BrokerError

Generation = Literal["3.10", "4.0", "4.3"]

_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What one RabbitMQ version gives; every feature is gated on this value.

    ``priority_levels`` counts what a quorum queue tells apart (0: it is plain FIFO).
    ``unlimited_deliveries``: a delivery limit of -1 means "none"; where it is ``False``, -1
    destroys messages. ``consumer_timeout`` is the finest place where a consumer timeout can be
    set. ``timeout_cancels``: an overdue delivery ends the consumer, not its whole channel.
    ``handback_counts``: a nack with requeue raises the delivery count. ``max_message_size`` is
    the server's default, in bytes. ``lacks`` says in sentences what the version does not give.
    """

    version: str
    generation: Generation
    priority_levels: int
    unlimited_deliveries: bool
    consumer_timeout: Literal["node", "queue", "consumer"]
    timeout_cancels: bool
    handback_counts: bool
    transient_queues: bool
    max_message_size: int
    lacks: tuple[str, ...]

    @property
    def number(self) -> tuple[int, int, int]:
        """The version as numbers, to be compared."""
        return parse_version(self.version)


def parse_version(text: str) -> tuple[int, int, int]:
    """Read ``"4.3.6"``, ``"3.10.8+2.g12"`` or ``"4.3"``; raises `BrokerError` for anything else."""
    match = re.match(r"(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?(?!\d)", text)
    if not match:
        raise BrokerError(f"expected a RabbitMQ version such as 4.3.6, got {text!r}")
    major, minor, patch = match.groups(default="0")
    return int(major), int(minor), int(patch)


def from_version(text: str) -> Capabilities:
    """Say what RabbitMQ ``text`` can do; a version between two known ones counts as the older.

    Raises `BrokerError` below 3.10, the oldest supported version.
    """
    number = parse_version(text)
    if number >= (4, 3, 0):
        return _of_4_3(text)
    if number >= (4, 0, 0):
        return _of_4_0(text)
    if number >= (3, 10, 0):
        return _of_3_10(text)
    raise BrokerError(f"expected RabbitMQ 3.10 or newer, got {text}; upgrade the broker")


def from_properties(properties: Mapping[str, Any]) -> Capabilities:
    """Read the server properties that a broker sends when a connection opens.

    Raises `BrokerError` when the peer is not RabbitMQ, or is too old.
    """
    product, version = (_text(properties.get(key)) for key in ("product", "version"))
    if product != "RabbitMQ":
        raise BrokerError(f"expected RabbitMQ at this URL, got {product or 'no product name'!r}")
    return from_version(version)


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")


def _of_4_3(version: str) -> Capabilities:
    return Capabilities(
        version=version,
        generation="4.3",
        priority_levels=32,
        unlimited_deliveries=True,
        consumer_timeout="consumer",
        timeout_cancels=True,
        handback_counts=False,
        transient_queues=False,
        max_message_size=16 * _MIB,
        lacks=(),
    )


def _of_4_0(version: str) -> Capabilities:
    return Capabilities(
        version=version,
        generation="4.0",
        priority_levels=2,
        unlimited_deliveries=True,
        consumer_timeout="queue",
        timeout_cancels=False,
        handback_counts=True,
        transient_queues=True,
        max_message_size=16 * _MIB,
        lacks=(
            "quorum queues tell only two priorities apart, and mix them 2:1",
            "a consumer timeout closes the whole channel and returns every prefetched job",
            "jobs handed back at a restart count towards the delivery limit",
        ),
    )


def _of_3_10(version: str) -> Capabilities:
    return Capabilities(
        version=version,
        generation="3.10",
        priority_levels=0,
        unlimited_deliveries=False,
        consumer_timeout="node",
        timeout_cancels=False,
        handback_counts=True,
        transient_queues=True,
        max_message_size=128 * _MIB,
        lacks=(
            "it gets no security fixes any more: not for production",
            "quorum queues know no priorities; classic queues do, without at-least-once "
            "dead lettering and without a delivery limit",
            "a consumer timeout can be set for the whole node only, and closes the whole channel",
            "jobs handed back at a restart count towards the delivery limit",
        ),
    )


REFERENCE: Final = from_version("4.3.0")
"""The version that plans are made for when no broker is at hand."""
