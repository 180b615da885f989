"""What is declared on the broker: exchanges, queues, bindings and policies as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

POLICY_PRIORITY: Final = 10_000
"""High, because a stranger's policy of a higher priority would shadow ours whole."""

QueueRole = Literal["work", "retry", "landing", "delay", "fail", "raw"]
Arguments = Mapping[str, Any]


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """A durable exchange as it is declared."""

    name: str
    type: str
    internal: bool = False
    arguments: Arguments = {}


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """A durable queue as it is declared; ``of`` is the work queue (config name) it serves."""

    name: str
    role: QueueRole
    arguments: Arguments
    of: str | None = None


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """A binding as it is declared."""

    source: str
    destination: str
    routing_key: str
    to_exchange: bool = False
    arguments: Arguments = {}


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """A broker policy for exactly one queue; it carries the queue's name."""

    name: str
    pattern: str
    definition: Arguments
    priority: int = POLICY_PRIORITY
    apply_to: str = "queues"
