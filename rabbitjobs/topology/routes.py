"""Where a message goes: pure and quick, for every publish runs through here."""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache
from typing import Final, Literal, TypeAlias

import msgspec

from rabbitjobs.clock import format_duration
from rabbitjobs.errors import ArgumentsRefused, Unroutable
from rabbitjobs.topology import names
from rabbitjobs.topology.model import NEUTRAL_PRIORITY, QueueSpec, TopologySpec
from rabbitjobs.topology.plan import Plan

FailKind: TypeAlias = Literal["review", "notify", "ignored", "quarantine"]
Source: TypeAlias = TopologySpec | Plan

_SECOND: Final = timedelta(seconds=1)
_NOW: Final = timedelta()


class Route(msgspec.Struct, frozen=True):
    """Where to publish: persistent, mandatory and confirmed."""

    exchange: str
    routing_key: str


def work(source: Source, queue: str) -> Route:
    """The route to the work queue; raises `Unroutable` for a queue that the topology lacks."""
    spec = _spec(source)
    _known(spec, queue)
    return _work(spec.namespace, queue)


def delayed(source: Source, queue: str, delay: timedelta) -> Route:
    """The route by which a job reaches ``queue`` after ``delay``.

    A step of the queue's retry policies has a queue of its own and is exact to the millisecond.
    Any other delay takes the ladder and is rounded UP to whole seconds. A delay of zero or less
    goes straight to work. Raises `Unroutable` for a queue that the topology lacks (the ladder
    itself would confirm such a message) and `ArgumentsRefused` beyond the topology's longest delay.
    """
    spec = _spec(source)
    _known(spec, queue)
    if delay <= _NOW:
        return _work(spec.namespace, queue)
    exchange = names.delay_exchange(spec.namespace)
    if delay in spec.steps_of(queue):
        return Route(exchange, names.retry_key(queue, delay))
    if delay > spec.longest_delay:
        longest, got = format_duration(spec.longest_delay), format_duration(delay)
        raise ArgumentsRefused(
            f"expected a delay of at most {longest} (delays: longest in the topology's config), "
            f"got {got}",
            queue=queue,
        )
    return Route(exchange, names.ladder_key(queue, -(-delay // _SECOND)))


def failed(source: Source, kind: FailKind, queue: str | None = None) -> Route:
    """The route for a failed job of ``queue``; ``None`` or an unknown queue take the shared ones.

    Never raises: what failed must find its place even when its queue has left the config.
    """
    spec = _spec(source)
    found = spec.queues.get(queue) if queue is not None else None
    own = found is not None and found.review_own and kind == "review"
    return Route(names.fail_exchange(spec.namespace), names.fail_key(kind, queue if own else None))


def priority_number(source: Source, queue: str, name: str | None) -> int | None:
    """The AMQP priority for one of the queue's named priorities; ``None`` asks for its default.

    The default name is always 4, which is what quorum queues take a message without priority
    for; the others count up and down from it. So the numbers are the same on every version, and
    two-level brokers (4.0) tell "above the default" from the rest. ``None`` where the queue has
    no priorities. Raises `ArgumentsRefused` for a name that the queue does not list.
    """
    found = _known(_spec(source), queue)
    usual = found.usual_priority
    wanted = usual if name is None else name
    if wanted is None or usual is None:
        _refuse_priority(found, wanted)
        return None
    if wanted not in found.priorities:
        listed = ", ".join(found.priorities)
        raise ArgumentsRefused(f"expected one of {listed}, got priority {wanted!r}", queue=queue)
    return NEUTRAL_PRIORITY + found.priorities.index(wanted) - found.priorities.index(usual)


def _refuse_priority(queue: QueueSpec, name: str | None) -> None:
    if name is not None:
        raise ArgumentsRefused(
            f"expected no priority, for the queue lists none, got {name!r}; "
            "list `priorities` in the topology's config",
            queue=queue.name,
        )


def _spec(source: Source) -> TopologySpec:
    return source.spec if isinstance(source, Plan) else source


def _known(spec: TopologySpec, queue: str) -> QueueSpec:
    found = spec.queues.get(queue)
    if found is None:
        listed = ", ".join(sorted(spec.queues))
        raise Unroutable(
            f"expected a queue of the topology ({listed}), got {queue!r}; "
            f"add it to {spec.file or 'the config'} and run: rabbitjobs topology apply",
            queue=queue,
        )
    return found


@lru_cache(maxsize=1024)
def _work(namespace: str, queue: str) -> Route:
    return Route(names.jobs_exchange(namespace), queue)
