"""The ``raw`` section of the config: exchanges, queues and bindings under their literal names."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, Final

import msgspec

from rabbitjobs.fields import Field
from rabbitjobs.topology import names
from rabbitjobs.topology.model import QueueSpec, RawBinding, RawExchange, RawQueue
from rabbitjobs.yaml import plain

RESERVED: Final = (
    *("jobs", "q", "retry", "landing", "delay", "deliver", "fail", *names.FAIL_KINDS),
    *("undeliverable", "events", "control", "reply", "leader"),
)
"""Words after the namespace that belong to rabbitjobs itself."""
_QUEUE_TYPES: Final = ("quorum", "classic", "stream")
_FORBIDDEN: Final[Mapping[str, tuple[str, ...]]] = {
    "quorum": ("x-max-priority", "x-queue-type", "x-expires"),
    "classic": ("x-queue-type", "x-expires", "x-quorum-initial-group-size", "x-delivery-limit"),
    "stream": ("x-queue-type", "x-expires", "x-max-priority", "x-dead-letter-exchange"),
}


class Raw(msgspec.Struct, frozen=True):
    """What the section holds."""

    exchanges: tuple[RawExchange, ...]
    queues: tuple[RawQueue, ...]
    bindings: tuple[RawBinding, ...]


def read_raw(field: Field, namespace: str, queues: Mapping[str, QueueSpec]) -> Raw:
    """Read the section; faults are collected in the document."""
    field.keys("exchanges", "queues", "bindings")
    exchanges = tuple(_exchange(e, namespace) for e in field.child("exchanges").entries())
    raw_queues = tuple(_queue(q, namespace) for q in field.child("queues").entries())
    ours = {exchange.name for exchange in exchanges}
    ends = _Ends(
        sources=ours | {names.events_exchange(namespace)},
        exchanges=ours | {names.jobs_exchange(namespace)},
        queues={queue.name for queue in raw_queues}
        | {f"{namespace}.q.{queue}" for queue in queues},
    )
    bindings = tuple(_binding(item, ends) for item in field.child("bindings").items())
    return Raw(exchanges, raw_queues, bindings)


class _Ends(msgspec.Struct, frozen=True):
    sources: Container[str]
    exchanges: Container[str]
    queues: Container[str]


def _exchange(field: Field, namespace: str) -> RawExchange:
    field.keys("type", "internal", "arguments")
    return RawExchange(
        name=_name(field, namespace),
        type=field.child("type").text("topic"),
        internal=field.child("internal").flag(),
        arguments=_arguments(field.child("arguments")),
        line=field.line,
    )


def _queue(field: Field, namespace: str) -> RawQueue:
    field.keys("type", "arguments")
    kind = field.child("type").choice(_QUEUE_TYPES, "quorum")
    arguments = field.child("arguments")
    for entry in arguments.entries():
        if entry.path[-1] in _FORBIDDEN[kind]:
            entry.fail(f"an argument that a durable {kind} queue takes", str(entry.path[-1]))
    return RawQueue(
        name=_name(field, namespace), type=kind, arguments=_arguments(arguments), line=field.line
    )


def _binding(field: Field, ends: _Ends) -> RawBinding:
    field.keys("from", "to_queue", "to_exchange", "key", "arguments", required=("from",))
    source, queue = field.child("from"), field.child("to_queue")
    exchange = field.child("to_exchange")
    if queue.given == exchange.given and field.given:
        field.fail("either to_queue or to_exchange", "both" if queue.given else "neither")
    _known(source, ends.sources, "an exchange of raw.exchanges, the events exchange, or amq.*")
    _known(queue, ends.queues, "a queue of raw.queues, or a work queue (<namespace>.q.<queue>)")
    _known(exchange, ends.exchanges, "an exchange of raw.exchanges, or the jobs exchange")
    return RawBinding(
        source=source.text(),
        destination=(exchange if exchange.given else queue).text(),
        to_exchange=exchange.given,
        routing_key=field.child("key").text(fault=_key_fault),
        arguments=_arguments(field.child("arguments")),
        line=field.line,
    )


def _known(field: Field, known: Container[str], expected: str) -> None:
    name = field.text()
    if name and name not in known and not (field.path[-1] == "from" and name.startswith("amq.")):
        field.fail(expected)


def _name(field: Field, namespace: str) -> str:
    name = str(field.path[-1])
    fault = names.name_fault(name)
    first = name.removeprefix(f"{namespace}.").split(".")[0]
    if name.startswith("amq."):
        fault = "a name that does not begin with amq., which RabbitMQ keeps for itself"
    elif name.startswith(f"{namespace}.") and first in RESERVED:
        fault = f"another name than {namespace}.{first}..., which rabbitjobs keeps for itself"
    if fault:
        field.fail(fault, repr(name))
    return name


def _key_fault(key: str) -> str | None:
    return None if len(key.encode()) <= names.MAX_BYTES else f"at most {names.MAX_BYTES} bytes"


def _arguments(field: Field) -> Mapping[str, Any]:
    for entry in field.entries():
        value = plain(entry.node) if entry.node else None
        if value is None or isinstance(value, float):
            entry.fail("a text, a whole number, true, false, a list or a mapping")
    value = plain(field.node) if field.node else None
    return value if isinstance(value, dict) else {}
